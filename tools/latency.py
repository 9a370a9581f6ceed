"""Measure what the parts of a ViT cost on this machine, for tools/compress.py --speedup here or elsewhere.

A classifier is timed whole, of a segmentor or detector the backbone with its maps. The table is kept in the user's
cache folder, where --speedup finds it; --out writes it to a file, for --latency-table.
"""
import _early  # noqa: F401  # isort: skip
import argparse
from typing import Any

import torch
from torch import nn

from cait_mm.arch import NAMES, get_arch
from cait_mm.config.cli import add_json_option, output_file, positive, positive_int, report, run
from cait_mm.config.outcome import show_measuring
from cait_mm.latency.cache import measured
from cait_mm.latency.measure import DTYPES, SECONDS
from cait_mm.latency.table import WIDE, LatencyTable
from cait_mm.models import Classifier, classifier_backbone
from cait_mm.spec import Spec
from cait_mm.utils.tables import table


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('model', metavar='CONFIG_OR_ARCH',
                        help=f'a config with a backbone of this package, or an architecture: {NAMES}')
    parser.add_argument('--out', type=output_file, metavar='FILE', help='also write the table there')
    parser.add_argument('--shape', nargs=2, type=positive_int, metavar=('H', 'W'),
                        help='pixels of the images (default: those of the classifier, or of the config\'s crops)')
    parser.add_argument('--batch-size', type=positive_int, default=1, metavar='N', help='images at once (default: 1)')
    parser.add_argument('--device', choices=('cpu', 'cuda'), default='cpu', help='default: cpu')
    parser.add_argument('--dtype', choices=list(DTYPES), default='float32',
                        help='of weights and images (default: float32)')
    parser.add_argument('--threads', type=positive_int, help='CPU threads (default: all cores)')
    parser.add_argument('--seconds', type=positive, default=SECONDS,
                        help='to spend on timing, after a first pass of every model (default: %(default)g)')
    parser.add_argument('--again', action='store_true', help='measure although a table is kept')
    add_json_option(parser)
    return parser.parse_args()


def built(args: argparse.Namespace) -> tuple[nn.Module, tuple[int, int] | None]:
    """The dense model, with random weights, and the size of its images; None is the model's own."""
    shape = tuple(args.shape) if args.shape else None
    if not args.model.endswith('.py'):
        return Classifier(classifier_backbone(Spec.dense(get_arch(args.model)), img_size=shape)), shape
    from cait_mm.compression.images import input_size
    from cait_mm.config.load import load_config
    from cait_mm.tasks import load_model
    model = load_model(args.model, {'model.backbone.init_cfg': None})
    return model, shape or (None if isinstance(model, Classifier) else input_size(load_config(args.model), model))


def rows_of(latency: LatencyTable) -> list[list[str]]:
    """Where the time of a dense block goes, and what narrower ones take, at every number of tokens."""
    rows = []
    for part in WIDE:
        for kind, by_tokens in latency.ms[part].items():
            for tokens, curve in sorted(by_tokens.items(), reverse=True):
                rows.append([part, kind, str(tokens),
                             ', '.join(f'{width}: {ms:.3g}' for width, ms in sorted(curve.items(), reverse=True))])
    return rows


def main() -> None:
    args = parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    model, shape = built(args)
    latency = measured(model, img_size=shape, batch_size=args.batch_size, device=args.device, dtype=args.dtype,
                       seconds=args.seconds, again=args.again, progress=show_measuring)
    if args.out:
        latency.save(args.out)
    result: dict[str, Any] = latency.to_dict()
    text = table(['part', 'blocks', 'tokens', 'ms by width'], rows_of(latency))
    text += f'\ndense: {latency.dense:.4g} ms; ' + ', '.join(f'{key} {value}' for key, value in
                                                           latency.conditions.items())
    report(f'{text}\nin {args.out}' if args.out else text, result, args.json)


if __name__ == '__main__':
    run(main, ('device', 'shape'))
