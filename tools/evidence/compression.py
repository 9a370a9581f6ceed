"""The paper's ablations in small: compress a real DeiT-Tiny on a 20-class ImageFolder, every variant the same way.

--data holds train/ and val/ with class folders and classes.txt ("folder ImageNet-index ..." lines). Every variant
starts from the dense weights, with the head's rows of these classes, and sees the same images in the same order for a
seed. Finished variants are kept under --out and not trained again; an interrupted one starts anew.
"""
import argparse
import json
import re
import shutil
from pathlib import Path
from statistics import mean
from typing import Any

from cait_mm.config.cli import add_json_option, positive, positive_int, report, result_of, run, run_python, whole_number
from cait_mm.errors import UserError
from cait_mm.macs import classifier_cost
from cait_mm.models.checkpoint import read_checkpoint
from cait_mm.utils.files import write_json
from cait_mm.utils.tables import table

ROOT = Path(__file__).resolve().parents[2]
ATME, CAIT = ((3, 'horizontal'), (7, 'vertical'), (9, 'horizontal')), ((4, 'horizontal'), (8, 'vertical'))
SHORT = dict(rule='proximal', start_epoch=0, step=None, interval=5)
ABLATION = dict(target=0.251, start='identity', **SHORT)
VARIANTS: dict[str, dict[str, Any]] = {
    'dense, fine-tuned': {},
    'ATME': dict(merge=ATME),
    'CAIT, calibrated start': dict(merge=CAIT, cdcp=dict(target=0.505, start='calibrated', **SHORT)),
    'CAIT, identity start': dict(merge=CAIT, cdcp=dict(target=0.505, start='identity', **SHORT)),
    'CAIT, no training': dict(merge=CAIT, untrained=0.505),
    'CAIT, no training, then fine-tuned': dict(merge=CAIT, untrained=0.505, tuned=True),
    'symmetric': dict(merge=((5, 'symmetric'), (6, 'symmetric'))),
    'HTM only': dict(merge=tuple((block, 'horizontal') for block in (3, 7, 9))),
    'VTM only': dict(merge=tuple((block, 'vertical') for block in (3, 7, 9))),
    'diagonal': dict(merge=tuple((block, 'diagonal') for block in (3, 7, 9))),
    'ATME+Conv': dict(merge=tuple((block, f'{kind}_conv') for block, kind in ATME)),
    'CDCP': dict(cdcp=ABLATION),
    'CDCP w/o head': dict(cdcp=dict(ABLATION, head_consistency=False)),
    'CDCP w/o attn': dict(cdcp=dict(ABLATION, attention_consistency=False)),
    'CDCP w/o both': dict(cdcp=dict(ABLATION, head_consistency=False, attention_consistency=False)),
}
CONFIG = """\
_base_ = {base!r}
model = dict(
    num_classes={classes}, head_rows={rows}, distillation=dict(alpha=0.1, teacher={teacher}), cdcp={cdcp},
    backbone=dict(drop_path_rate=0., merge={merge}, init_cfg=dict(type='Pretrained', checkpoint={checkpoint!r})),
    data_preprocessor=dict(mixup=None))
transform = dict(
    _delete_=True, input_size=224, is_training=True, interpolation='bicubic', scale=(0.5, 1.0), color_jitter=None)
train_dataloader = dict(
    batch_size={batch}, num_workers=1, sampler=dict(_delete_=True, type='DefaultSampler', shuffle=True),
    dataset=dict(data_root={data!r}, per_class={per_class}, transform=transform))
val_dataloader = dict(
    batch_size=50, num_workers=1, dataset=dict(data_root={data!r}, transform=dict(crop_pct=1.0)))
test_dataloader = val_dataloader
train_cfg = dict(max_epochs=1, val_interval=1000)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-2, by_epoch=False, begin=0, end={warmup}),
    dict(type='CosineAnnealingLR', eta_min=1e-6, by_epoch=False, begin={warmup}, end={steps}),
]
optim_wrapper = dict(optimizer=dict(lr={lr}), paramwise_cfg=dict(compactor_lr_mult=0.1))
default_hooks = dict(logger=dict(interval=10), checkpoint=dict(save_best=None))
custom_hooks = [dict(type=name) for name in ('CDCPHook', 'EpochSeedHook', 'FiniteHook', 'NumClassesHook')]
randomness = dict(seed={seed})
"""


def write_config(path: Path, variant: dict[str, Any], seed: int, args: argparse.Namespace, checkpoint: Path) -> None:
    """The variant's config: a compress_* config with this evidence's data, length and seed."""
    lines = [line.split() for line in (args.data / 'classes.txt').read_text().splitlines() if line.strip()]
    rows = [int(line[1]) for line in sorted(lines)]
    teacher = dict(type='Classifier', num_classes=len(rows), head_rows=rows, backbone=dict(
        type='CAITDeiT', arch='deit_tiny', init_cfg=dict(type='Pretrained', checkpoint=str(args.checkpoint))))
    path.write_text(CONFIG.format(
        base=str(ROOT / 'configs' / 'compress_deit_t_imagenet.py'), classes=len(rows), rows=rows, teacher=teacher,
        cdcp=variant.get('cdcp'), merge=variant.get('merge', ()), checkpoint=str(checkpoint), batch=args.batch_size,
        data=str(args.data), per_class=args.steps * args.batch_size // len(rows), warmup=max(1, args.steps // 10),
        steps=args.steps, lr=args.lr, seed=seed))


def train(name: str, seed: int, args: argparse.Namespace) -> dict[str, Any]:
    """Train, fold and evaluate one variant."""
    variant, folder = VARIANTS[name], args.out / f'{re.sub("[^a-zA-Z0-9+]+", "_", name)}_{seed}'
    result = folder / 'result.json'
    if result.is_file():
        return json.loads(result.read_text())
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    config, export, start = folder / 'config.py', folder / 'export.pth', args.checkpoint
    if 'untrained' in variant:
        start = folder / 'start.pth'
        merges = ','.join(f'{block}:{kind}' for block, kind in variant['merge'])
        run_python(ROOT / 'tools/compress.py', 'deit_tiny', args.checkpoint, start, '--target', variant['untrained'],
                   '--merge', merges, '--images', args.data / 'train')
    write_config(config, variant, seed, args, start)
    words = ['--work-dir', folder / 'run']
    if 'untrained' in variant and not variant.get('tuned'):
        start.rename(export)
    else:
        run_python(ROOT / 'tools/train.py', config, *words)
        run_python(ROOT / 'tools/fold.py', folder / 'run', export, '--json', folder / 'fold.json')
    run_python(ROOT / 'tools/test.py', config, export, *words, '--json', folder / 'test.json')
    found = {'name': name, 'seed': seed, 'folder': folder.name, **json.loads((folder / 'test.json').read_text())}
    write_json(result, found)
    return found


def cost(export: Path) -> tuple[int, int]:
    """MACs and parameters of an export, counted with ImageNet's head as everywhere."""
    found = classifier_cost(read_checkpoint(str(export)).spec)
    return found.macs, found.params


def speed(exports: dict[str, Path], args: argparse.Namespace) -> dict[str, Any]:
    """All exports of the first seed in one interleaved run."""
    return result_of(args.out / 'speed.json', ROOT / 'tools/benchmark.py', *exports.values(),
                     '--against', exports['dense, fine-tuned'], '--shape', 224, 224, '--batch-size', 16)


def spread(values: list[float]) -> str:
    """``mean`` and, of several seeds, ``mean (lowest to highest of n)``."""
    if len(values) == 1:
        return f'{values[0]:.1f}'
    return f'{mean(values):.1f} ({min(values):.1f} to {max(values):.1f} of {len(values)})'


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--data', type=Path, required=True)
    parser.add_argument('--checkpoint', type=Path, default=Path('checkpoints/deit_tiny_patch16_224-a1311bcf.pth'))
    parser.add_argument('--out', type=Path, default=Path('work_dirs/evidence_compression'))
    parser.add_argument('--variants', nargs='+', choices=list(VARIANTS), default=list(VARIANTS), metavar='VARIANT')
    parser.add_argument('--seeds', nargs='+', type=whole_number, default=[0])
    parser.add_argument('--steps', type=positive_int, default=120)
    parser.add_argument('--batch-size', type=positive_int, default=32)
    parser.add_argument('--lr', type=positive, default=2e-4)
    parser.add_argument('--no-speed', action='store_true', help='leave the timing out')
    add_json_option(parser)
    args = parser.parse_args()
    args.out = args.out.resolve()
    for path in (args.data / 'classes.txt', args.checkpoint):
        if not path.is_file():
            raise UserError(f'{path} does not exist.')
    found = [train(name, seed, args) for seed in args.seeds for name in args.variants]
    exports = {item['name']: args.out / item['folder'] / 'export.pth' for item in reversed(found)}
    timed = {} if args.no_speed else speed(exports, args)['models']
    dense = cost(exports['dense, fine-tuned'])[0] if 'dense, fine-tuned' in exports else None
    rows, models = [], {}
    for name, export in sorted(exports.items(), key=lambda item: list(VARIANTS).index(item[0])):
        macs, params = cost(export)
        part = timed.get(str(export), {}).get('overall')
        top1 = [item['top1'] for item in found if item['name'] == name]
        models[name] = {'top1': top1, 'macs': macs, 'params': params, 'speed': part}
        rows.append([name, spread(top1), f'{macs / 1e9:.3f}', f'{1 - macs / dense:.1%}' if dense else '',
                     f'{params / 1e6:.2f}', f'{part["speedup"]:.2f}x ({part["ideal"]:.2f}x)' if part else ''])
    write_json(args.out / 'results.json', found)
    report(table(['variant', 'top-1 %', 'GMACs', 'saved', 'params (M)', 'speed (ideal)'], rows), models, args.json)


if __name__ == '__main__':
    run(main)
