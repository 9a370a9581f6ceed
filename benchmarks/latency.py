"""How well latency tables predict: models of random widths, timed, beside what a table says of them.

For every architecture and batch size a table is measured; then the dense model, the paper's merges and models for
several speed-ups, whose channels have random scores, are timed in one interleaved run. Random weights. Finished tables
and runs are kept.
"""
import argparse
from collections.abc import Mapping
from typing import Any

import torch
from shared import Row, View, finish, machine, parser_of

from cait_mm.arch import get_arch
from cait_mm.config.cli import positive, positive_int, run
from cait_mm.config.outcome import show_measuring
from cait_mm.latency.measure import SECONDS, measure
from cait_mm.latency.table import LatencyTable, share_of
from cait_mm.models import Classifier, classifier_backbone
from cait_mm.pruning.plan import PAPER_MERGES, merges_for
from cait_mm.pruning.selection import BlockChannels, pruned_spec, select
from cait_mm.spec import Spec, make_spec
from cait_mm.utils.files import kept
from cait_mm.utils.speed import conditions, time_interleaved

ARCHS = ('deit_tiny', 'deit_small', 'deit_base', 'swin_tiny', 'swin_small', 'swin_base')
SPEEDUPS = {'deit': (1.25, 1.5, 2., 2.5, 3.), 'swin': (1.15, 1.3, 1.5)}
KEYS = ('arch', 'batch', 'model', 'machine')
VIEW: View = {'model': '{arch}, {model}', 'batch': '{batch}', 'merges': '{merges}',
              'predicted': '{predicted_ms:.4g} ms',
              'measured (half the quartiles\' distance)': '{ms:.4g} ms ±{half_iqr_percent:.2g} %| {noisy}',
              'error': '{error_percent:+.1f} %', 'speed-up, predicted': '{predicted_speedup:.2f}x',
              'measured ': '{speedup:.2f}x'}


def models_of(table: LatencyTable) -> dict[str, Spec]:
    """The models to time, by name."""
    arch, generator = table.arch, torch.Generator().manual_seed(0)
    specs = {'dense': Spec.dense(arch)}
    if arch.name in PAPER_MERGES:
        specs['the paper\'s merges'] = make_spec(arch, PAPER_MERGES[arch.name]).weighted()
    for speedup in SPEEDUPS[arch.family]:
        spec = merges_for(arch, share_of(speedup), table.saved).weighted()
        scores = [BlockChannels(*(torch.rand(block.num_heads, width, generator=generator) for width in (
            block.qk_dim, block.qk_dim, block.v_dim)), torch.rand(block.ffn_dim, generator=generator))
            for block in spec.blocks]
        masks = select(spec, scores, share_of(speedup), align=8, saved=table.saved, price=table.price(spec))
        specs[f'{speedup:g}x'] = pruned_spec(spec, masks)
    return specs


def timed(specs: Mapping[str, Spec], batch: int, rounds: int) -> dict[str, dict[str, Any]]:
    """Milliseconds of a batch through each model, in one interleaved run."""
    images = torch.rand(batch, 3, *next(iter(specs.values())).arch.img_size)
    models = {name: Classifier(classifier_backbone(spec)).eval() for name, spec in specs.items()}
    timings = time_interleaved({name: lambda model=model: model(images) for name, model in models.items()}, rounds)
    return {name: {'ms': 1000 * timing.median, 'half_iqr_percent': 50 * timing.spread,
                   'noisy': 'noisy' if timing.noisy else ''} for name, timing in timings.items()}


def rows_of(name: str, batch: int, args: argparse.Namespace) -> list[Row]:
    """The rows of an architecture at a batch size."""
    model = Classifier(classifier_backbone(Spec.dense(get_arch(name)))).eval()
    table = LatencyTable.from_dict(kept(
        args.out / f'table_{name}_{batch}.json',
        lambda: measure(model, batch_size=batch, seconds=args.seconds, progress=show_measuring).to_dict()))
    specs = models_of(table)
    timings = kept(args.out / f'timed_{name}_{batch}.json', lambda: timed(specs, batch, args.rounds))
    return [{'arch': name, 'batch': batch, 'model': case, 'predicted_ms': table.predict(spec), **timings[case],
             'error_percent': 100 * (table.predict(spec) / timings[case]['ms'] - 1),
             'predicted_speedup': table.dense / table.predict(spec),
             'speedup': timings['dense']['ms'] / timings[case]['ms'],
             'merges': ', '.join(map(str, spec.merges)).replace('_weighted', ''), 'machine': machine(conditions())}
            for case, spec in specs.items()]


def main() -> None:
    parser = parser_of(__doc__, 'latency')
    parser.add_argument('--archs', nargs='+', choices=ARCHS, default=ARCHS)
    parser.add_argument('--batches', nargs='+', type=positive_int, default=(1, 32))
    parser.add_argument('--rounds', type=positive_int, default=15, help='timed rounds of the models')
    parser.add_argument('--seconds', type=positive, default=SECONDS, help='to spend on each table')
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    rows = [row for name in args.archs for batch in args.batches for row in rows_of(name, batch, args)]
    finish(args, 'latency', KEYS, (VIEW, rows))


if __name__ == '__main__':
    run(main)
