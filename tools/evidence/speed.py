"""The speed of dense, ATME, CAIT and ToMe models in every mode, each case in one interleaved run of tools/benchmark.py.

Random weights. CAIT has the widths that stand in for its export in the upernet_cait_* configs; --exports adds real
ones of the same architecture. Finished runs are kept in --out, so a broken call goes on where it was.
"""
import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from cait_mm.classification import Classifier
from cait_mm.config.cli import add_json_option, positive_int, report, result_of, run
from cait_mm.config.load import load_config
from cait_mm.errors import UserError
from cait_mm.models.checkpoint import read_checkpoint
from cait_mm.models.export import make_export, save_export
from cait_mm.utils.tables import table

ROOT = Path(__file__).resolve().parents[2]
WIDTHS = ('qk_dim', 'v_dim', 'ffn_dim')


@dataclass(frozen=True)
class Case:
    """Models that are timed together: the dense one first; ``{}`` in ``configs`` is where a twin's kind stands.

    ``arch`` is set for classifiers, whose CAIT model is an export. ``cpu`` and ``cuda`` are batch sizes.
    """
    configs: str
    kinds: tuple[str, ...]
    parts: tuple[str, ...]
    shape: tuple[int, int]
    cpu: tuple[int, ...]
    cuda: tuple[int, ...]
    arch: str = ''
    others: tuple[str, ...] = ()

    def models(self, folder: Path, exports: Sequence[str]) -> list[Path]:
        paths = [ROOT / 'configs' / f'{self.configs.format(kind)}.py' for kind in self.kinds]
        paths += [ROOT / 'configs' / f'{name}.py' for name in self.others]
        if self.arch:
            paths.append(stand_in(self.arch, folder))
            known = read_checkpoint(str(paths[-1])).spec.arch
            paths += [Path(path).resolve() for path in exports if read_checkpoint(path).spec.arch == known]
        return paths


def classifier(arch: str, merged: str, *others: str) -> Case:
    return Case(f'compress_{{}}{arch}_imagenet', ('', merged), ('overall',), (224, 224), (1, 32), (1, 32, 256), arch,
                others)


def segmentor(head: str) -> Case:
    return Case(f'{head}_{{}}deit_s_ade20k', ('', 'atme_', 'cait_'), ('encoder', 'overall'), (512, 512), (1,), (1, 32))


CASES = {
    'deit_s': classifier('deit_s', 'atme43_', 'tome_half_deit_s_imagenet', 'tome_deit_s_imagenet'),
    'deit_t': classifier('deit_t', 'cait_'),
    'deit_b': classifier('deit_b', 'cait_'),
    'swin_t': classifier('swin_t', 'cait_'),
    'deit_s_512': Case('upernet_{}deit_s_ade20k', ('', 'atme_', 'cait_', 'tome_half_'), ('backbone',), (512, 512),
                       (1, 4), (1, 32)),
    'fpn': segmentor('fpn'), 'upernet': segmentor('upernet'), 'mask2former': segmentor('mask2former'),
    'mask_rcnn': Case('mask_rcnn_{}deit_s_coco', ('', 'atme_', 'cait_'), ('encoder', 'overall'), (800, 1344), (1,),
                      (1,)),
}
"""Classifiers of CAIT configs are timed with their merges alone; the export beside them has the pruned widths too."""

MODES: dict[str, list[str]] = {
    'fp32': [],
    'fp32, memory kept': ['--keep-memory'],
    'fp32, eager attention': ['--attention', 'eager'],
    'fp32, compiled': ['--compile', 'backbone'],
    'fp32, channels last': ['--channels-last'],
    'fp32, deployed': ['--deploy'],
    'fp32, CUDA graph': ['--cuda-graph'],
    'bf16': ['--dtype', 'bfloat16'],
    'bf16, compiled': ['--dtype', 'bfloat16', '--compile', 'backbone'],
    'bf16 weights, compiled': ['--dtype', 'bfloat16', '--weights', 'same', '--compile', 'backbone'],
    'bf16, CUDA graph': ['--dtype', 'bfloat16', '--cuda-graph'],
}


def stand_in(arch: str, folder: Path) -> Path:
    """An export with random weights and the widths of the ``upernet_cait_*`` config."""
    path = folder / f'cait_{arch}.pth'
    if not path.is_file():
        backbone = load_config(str(ROOT / f'configs/upernet_cait_{arch}_ade20k.py')).model.backbone
        wanted = {key: backbone[key] for key in ('type', 'arch', 'merge', *WIDTHS)}
        model = Classifier(wanted, num_classes=1000)
        weights = {name.removeprefix('backbone.'): value for name, value in model.state_dict().items()}
        save_export(make_export(weights, model.backbone.spec), path)
    return path


def measure(name: str, batch: int, mode: str, args: argparse.Namespace) -> dict[str, Any]:
    """One interleaved run, or what it found before."""
    case = CASES[name]
    words = [name, batch, *mode.replace(',', '').split(), args.device, *(Path(path).stem for path in args.exports)]
    result = args.out / f'{"_".join(map(str, words))}.json'
    dense, *others = case.models(args.out, args.exports)
    rounds = args.rounds * (4 if batch == 1 and case.arch else 1)
    return result_of(result, ROOT / 'tools/benchmark.py', *others, '--against', dense, '--parts', *case.parts,
                     '--shape', *case.shape, '--batch-size', batch, '--rounds', rounds, '--device', args.device,
                     *MODES[mode])


def rows_of(name: str, batch: int, mode: str, found: dict[str, Any]) -> list[list[str]]:
    rows, case = [], CASES[name]
    for path, model in found['models'].items():
        label = f'`{Path(path).stem}`' + (', merges alone' if case.arch and 'compress_cait' in path else '')
        for part in case.parts:
            timed = model[part]
            caps = f' (cap {timed["cap"]:.2f}x)' if 'cap' in timed else ''
            marks = ''.join(f' {mark}' for mark in ('noisy', 'launch_bound') if timed[mark])
            rows.append([label, part, 'x'.join(map(str, case.shape)), str(batch), mode, f'{timed["macs"] / 1e9:.2f}',
                         f'{1000 * timed["seconds"]:.1f} ms ±{50 * timed["spread"]:.0f} %{marks}',
                         f'{timed["speedup"]:.2f}x', f'{timed["ideal"]:.2f}x{caps}',
                         f'{timed["peak_memory"] / 2**20:.0f}', ', '.join(model['attention'])])
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--out', type=Path, default=Path('work_dirs/evidence_speed'))
    parser.add_argument('--cases', nargs='+', choices=list(CASES), default=list(CASES))
    parser.add_argument('--modes', nargs='+', choices=list(MODES), default=['fp32'])
    parser.add_argument('--batches', nargs='+', type=positive_int, help='only these of the batch sizes')
    parser.add_argument('--exports', nargs='+', default=[], metavar='FILE', help='compressed classifiers to add')
    parser.add_argument('--device', choices=('cpu', 'cuda'), default='cuda' if torch.cuda.is_available() else 'cpu')
    parser.add_argument('--rounds', type=positive_int, default=15, help='four times as many for classifiers at batch 1')
    add_json_option(parser)
    args = parser.parse_args()
    args.out = args.out.resolve()
    args.out.mkdir(parents=True, exist_ok=True)
    rows, results, failed = [], {}, []
    for name in args.cases:
        for batch in getattr(CASES[name], args.device):
            if args.batches and batch not in args.batches:
                continue
            for mode in args.modes:
                try:
                    found = measure(name, batch, mode, args)
                except UserError:  # the benchmark has said why
                    failed.append(f'{name}, batch {batch}, {mode}')
                    continue
                results[f'{name}, batch {batch}, {mode}'] = found
                rows += rows_of(name, batch, mode, found)
    header = ['model', 'part', 'input', 'batch', 'mode', 'GMACs', 'median (half the quartiles\' distance)', 'speed-up',
              'ideal', 'MiB at most', 'attention']
    text = '\n'.join([table(header, rows), *(f'not measured, see above: {what}' for what in failed)])
    report(text, results, args.json)
    return 2 if failed else 0


if __name__ == '__main__':
    run(main)
