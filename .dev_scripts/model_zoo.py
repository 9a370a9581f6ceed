"""Count every config and write the model zoo: configs/metafiles/*.yml (read by mim) and configs/README.md.

Results in the metafiles were measured here and are kept. MACs and parameters are counted for configs that lack them, or
for all with --count. Otherwise the page is rendered from the metafiles in a second.
"""
import argparse
import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
import yaml

from cait_mm.analysis.flops import count_macs, count_params
from cait_mm.config.cli import add_json_option, report, run
from cait_mm.config.load import load_config
from cait_mm.macs import classifier_cost
from cait_mm.spec import Spec
from cait_mm.tasks import Overall, load_model
from cait_mm.utils.files import atomic_path

ROOT = Path(__file__).resolve().parents[1]
CONFIGS = ROOT / 'configs'
PATHS = {path.stem: path for folder in (CONFIGS, CONFIGS / 'small') for path in sorted(folder.glob('*.py'))}
HEADS = {'classification': 'classifier', 'linear': 'linear, frozen', 'fpn': 'Semantic FPN', 'upernet': 'UperNet',
         'mask2former': 'Mask2Former', 'mask_rcnn': 'Mask R-CNN', 'vitdet': "Mask R-CNN in ViTDet's form",
         'cascade_mask_rcnn': 'Cascade Mask R-CNN', 'cascade_decoder': "CASCADE's decoder"}
"""The parts of a name that stand for a head; each has a metafile."""
BACKBONES = {'deit_t': 'DeiT-T', 'deit_s': 'DeiT-S', 'deit_b': 'DeiT-B', 'swin_t': 'Swin-T', 'swin_s': 'Swin-S',
             'lvvit_s': 'LV-ViT-S', 'lvvit_m': 'LV-ViT-M', 'dinov2_s': 'DINOv2-S', 'dinov2_b': 'DINOv2-B',
             'dinov3_s': 'DINOv3-S', 'dinov3_b': 'DINOv3-B', 'vit_b': 'ViT-B', 'vit_t': 'ViT-T', 'deit': 'small ViT',
             'swin': 'small Swin', 'lvvit': 'small LV-ViT', 'dinov2': 'small DINOv2', 'dinov3': 'small DINOv3'}
DATA = {'imagenet': 'ImageNet', 'ade20k': 'ADE20K', 'coco': 'COCO', 'isaid': 'iSAID', 'potsdam': 'Potsdam',
        'synapse': 'Synapse', 'acdc': 'ACDC', 'polyp': 'Polyps', 'coco_semantic': 'COCO semantic maps',
        'camvid': 'CamVid', 'imagefolder': 'ImageFolder', 'scenes': 'Scenes'}
METHODS = {'': 'dense', 'atme': 'ATME', 'cdcp': 'CDCP', 'cait': 'CAIT'}
RIVALS = {'tome': 'ToMe', 'tome_half': 'ToMe*', 'tome_param': 'ToMe+Param', 'diffrate': 'DiffRate',
          'evit_structured': 'EViT, structured', 'evit_unstructured': 'EViT, unstructured',
          'lfe_structured': 'LFE, structured', 'lfe_unstructured': 'LFE, unstructured', 'evovit': 'Evo-ViT'}
NAME = re.compile(rf'(?:({"|".join(HEADS)}|compress)_)?(?:({"|".join([*METHODS, *RIVALS][1:])})_)?'
                  rf'({"|".join(BACKBONES)})(?:_600e)?_({"|".join(DATA)})')
PAPER = {
    'upernet_deit_s_ade20k': 'mIoU 44.9', 'upernet_atme_deit_s_ade20k': 'mIoU 45.3',
    'upernet_cait_deit_s_ade20k': 'mIoU 45.6', 'fpn_deit_s_ade20k': 'mIoU 44.3', 'fpn_atme_deit_s_ade20k': 'mIoU 44.5',
    'fpn_cait_deit_s_ade20k': 'mIoU 44.5', 'mask2former_deit_s_ade20k': 'mIoU 47.2',
    'mask2former_atme_deit_s_ade20k': 'mIoU 47.6', 'mask2former_cait_deit_s_ade20k': 'mIoU 47.2',
    'mask_rcnn_deit_s_coco': 'AP 38.4 / 35.2', 'mask_rcnn_atme_deit_s_coco': 'AP 38.7 / 35.2',
    'mask_rcnn_cait_deit_s_coco': 'AP 38.8 / 35.6', 'cascade_mask_rcnn_swin_t_coco': 'AP 50.5 / 43.7',
    'cascade_mask_rcnn_atme_swin_t_coco': 'AP 50.1 / 43.3', 'cascade_mask_rcnn_swin_s_coco': 'AP 51.8 / 44.7',
    'cascade_mask_rcnn_atme_swin_s_coco': 'AP 51.8 / 44.7', 'upernet_swin_t_ade20k': 'mIoU 45.8',
    'upernet_atme_swin_t_ade20k': 'mIoU 45.2', 'upernet_swin_s_ade20k': 'mIoU 49.5',
    'upernet_atme_swin_s_ade20k': 'mIoU 48.5', 'upernet_deit_s_potsdam': 'OA 88.6, mF1 90.9',
    'upernet_cait_deit_s_potsdam': 'OA 88.5, mF1 90.9', 'upernet_deit_s_isaid': 'mIoU 60.8',
    'upernet_cait_deit_s_isaid': 'mIoU 61.1', 'upernet_swin_t_potsdam': 'OA 91.2, mF1 90.6',
    'upernet_atme_swin_t_potsdam': 'OA 91.1, mF1 90.6', 'upernet_swin_t_isaid': 'mIoU 64.6',
    'upernet_atme_swin_t_isaid': 'mIoU 64.6', 'cascade_decoder_deit_s_synapse': 'Dice 76.5',
    'cascade_decoder_cait_deit_s_synapse': 'Dice 76.4', 'cascade_decoder_deit_s_acdc': 'Dice 88.6',
    'cascade_decoder_cait_deit_s_acdc': 'Dice 88.4', 'cascade_decoder_deit_s_polyp': 'Dice 78.9',
    'cascade_decoder_cait_deit_s_polyp': 'Dice 78.9', 'cascade_decoder_swin_t_synapse': 'Dice 79.5',
    'cascade_decoder_atme_swin_t_synapse': 'Dice 79.3', 'cascade_decoder_swin_t_acdc': 'Dice 90.0',
    'cascade_decoder_atme_swin_t_acdc': 'Dice 90.1', 'cascade_decoder_swin_t_polyp': 'Dice 80.6',
    'cascade_decoder_atme_swin_t_polyp': 'Dice 80.5', 'compress_cait_deit_t_imagenet': 'top-1 72.3',
    'compress_cait_deit_s_imagenet': 'top-1 80.2', 'compress_cait_deit_b_imagenet': 'top-1 81.6',
    'compress_atme_deit_t_imagenet': 'top-1 71.9', 'compress_atme_deit_s_imagenet': 'top-1 79.8',
    'compress_cdcp_deit_t_imagenet': 'top-1 71.9', 'compress_cdcp_deit_s_imagenet': 'top-1 79.8',
    'tome_deit_s_imagenet': 'top-1 79.9', 'tome_half_deit_s_imagenet': 'top-1 80.0',
    'tome_param_deit_s_imagenet': 'top-1 80.0', 'diffrate_deit_s_imagenet': 'top-1 80.1',
    'fpn_tome_deit_s_ade20k': 'mIoU 44.0', 'fpn_tome_half_deit_s_ade20k': 'mIoU 43.9',
    'fpn_tome_param_deit_s_ade20k': 'mIoU 44.0', 'fpn_diffrate_deit_s_ade20k': 'mIoU 43.1',
    'fpn_lfe_structured_deit_s_ade20k': 'mIoU 43.5', 'fpn_lfe_unstructured_deit_s_ade20k': 'mIoU 0.1',
    'fpn_evovit_deit_s_ade20k': 'mIoU 42.7', 'upernet_lfe_structured_deit_s_ade20k': 'mIoU 44.2',
    'upernet_lfe_unstructured_deit_s_ade20k': 'mIoU 0.1', 'upernet_evovit_deit_s_ade20k': 'mIoU 43.0',
    'deit_t_600e_imagenet': 'top-1 73.5', 'deit_s_600e_imagenet': 'top-1 81.0',
    'atme_swin_t_scratch_imagenet': 'top-1 81.1', 'atme_swin_s_scratch_imagenet': 'top-1 83.0',
}
"""The paper's figures (Tab. III to VIII, XV to XX), never measured here; for detectors AP of boxes and masks."""
HEADER = """\
# Configs

Generated by `python .dev_scripts/model_zoo.py` from `metafiles/`, which `mim` reads.

Find the data set and the head, then the method: **dense**, **ATME** (tokens merged), **CDCP** (channels pruned) or
**CAIT** (both). The cell links to the config. Configs are called `HEAD_METHOD_BACKBONE_DATA.py`, without a method for
the dense model; compression runs of classifiers `compress_METHOD_BACKBONE_DATA.py`; dense classifiers that are trained
further `BACKBONE_600e_DATA.py`. The commands for every config are:

```shell
python tools/train.py configs/NAME.py
python tools/test.py configs/NAME.py work_dirs/NAME/CHECKPOINT.pth
python tools/benchmark.py configs/CAIT_NAME.py --against configs/DENSE_NAME.py --shape H W
```

Compressed configs inherit from their dense twin and change its backbone. Merges and stand-in widths are written once,
in [_base_/backbones/](_base_/backbones). Merges in configs are plain; a compressed checkpoint of weighted ones makes
them weighted. [docs/prepare_data.md](../docs/prepare_data.md) says how to get data and weights. Names that configs had
in earlier versions are still found ([moved.yml](moved.yml)).

Cells hold GMACs (encoder / overall, on one picture of the size in that row; 1 MAC = 1 FLOP), millions of parameters
without auxiliary heads, and a score. GMACs of CAIT are those of its target or of the stand-in widths. An empty cell was
not measured.
"""
PAPERS = """
## The paper's recipes

Scores are the **paper's**, at full training. They were not reproduced here.

### Compress a classifier

"""
TASKS = """
### Segment and detect

"""
COMPARED = """
## The paper's rivals

The same recipes with other token reducers ([docs/rivals.md](../docs/rivals.md)), those in small/ for two CPU cores. The
numbers of tokens are in [_base_/backbones/rivals.py](_base_/backbones/rivals.py). *Structured* maps hold the last
features of dropped tokens, *unstructured* ones a mask token. Scores of the large ones are the **paper's**; its LFE is
VTC-LFC, whose channels are pruned too.

"""
CONTROLS = """
## The paper's controls and ablations

| config | GMACs | params (M) | paper | |
| --- | --- | --- | --- | --- |
"""
SMALL = """
## Small siblings

These configs are in [small/](small), for two CPU cores. Scores were **measured here**, by short runs on the data in the
last column, and do not compare with the paper's ([docs/tasks.md](../docs/tasks.md),
[docs/benchmarks.md](../docs/benchmarks.md)). Those on scenes belong to version 1 of the scenes, which are drawn
differently now.

"""


class Parts(NamedTuple):
    """The parts of a name; for a control, which is in no table, only the data set and the metafile."""
    head: str
    method: str | None
    backbone: str
    data: str


def parts_of_name(name: str) -> Parts:
    match = NAME.fullmatch(name)
    if match:
        head, method, backbone, data = match.groups()
        return Parts('classification' if head in (None, 'compress') else head, method or '', backbone, data)
    head = next((head for head in HEADS if name.startswith(f'{head}_')), 'classification')
    data = next(data for data in sorted(DATA, key=len, reverse=True) if name.endswith(f'_{data}'))
    return Parts(head, None, '', data)


def input_size(config: Any) -> tuple[int, int]:
    """Height and width at which a config is counted: its crop, or for detectors a landscape picture padded to 32."""
    if config.get('default_scope') == 'mmdet':
        step = next(step for step in config.test_dataloader.dataset.pipeline if step.type == 'Resize')
        long, short = step.scale
        return -(-short // 32) * 32, -(-long // 32) * 32
    return tuple(config.model.data_preprocessor.size)


def sides(size: Sequence[int]) -> str:
    """(H, W) as ``HxW``: ``mim search`` takes no lists of numbers."""
    return 'x'.join(map(str, size))


def count(name: str) -> dict[str, Any]:
    """Input, MACs and parameters of a config: the target's for a CDCP run, None if they depend on a checkpoint."""
    path = str(PATHS[name])
    config, model = load_config(path), load_model(path)
    if config.model.type == 'Classifier':
        spec, classes = model.backbone.spec, model.num_classes
        cost = classifier_cost(spec, num_classes=classes)
        counted = {'Input': sides(spec.arch.img_size), 'FLOPs': cost.macs, 'Parameters': cost.params}
        target = (config.model.get('cdcp') or {}).get('target')
        if target:
            dense = classifier_cost(Spec.dense(spec.arch), num_classes=classes)
            counted.update(FLOPs=round(dense.macs * (1 - target)), Parameters=None)
        return counted
    height, width = input_size(config)
    if '_cait_' in name and not model.backbone.spec.is_pruned:
        return {'Input': sides((height, width)), 'FLOPs': None, 'Parameters': None}
    image = torch.rand(1, 3, height, width)
    macs = count_macs(Overall(model), (image,))
    auxiliary = getattr(model, 'auxiliary_head', None)
    params = count_params(model) - (count_params(auxiliary) if auxiliary else 0)
    return {'Input': sides((height, width)), 'FLOPs': macs[''],
            'Encoder FLOPs': macs['model.backbone'] + macs['model.neck'], 'Parameters': params}


def read(head: str) -> dict[str, dict[str, Any]]:
    path = CONFIGS / 'metafiles' / f'{head}.yml'
    models = yaml.safe_load(path.read_text())['Models'] if path.is_file() else []
    return {model['Name']: model for model in models}


def entry(name: str, known: dict[str, Any], recount: bool) -> dict[str, Any]:
    metadata = known.get('Metadata', {})
    if recount or 'FLOPs' not in metadata:
        print(f'counting {name}', file=sys.stderr, flush=True)
        metadata = {'Training Data': DATA[parts_of_name(name).data], **count(name)}
    model = {'Name': name, 'In Collection': 'CAIT', 'Config': str(PATHS[name].relative_to(ROOT)), 'Metadata': metadata}
    return {**model, **({'Results': known['Results']} if known.get('Results') else {})}


def gmacs(model: dict[str, Any]) -> str:
    """``encoder / overall``, or the one that was counted."""
    counted = [model['Metadata'].get(key) for key in ('Encoder FLOPs', 'FLOPs')]
    return ' / '.join(f'{value / 1e9:.2f}' for value in counted if value)


def params(model: dict[str, Any]) -> str:
    number = model['Metadata']['Parameters']
    return f'{number / 1e6:.1f}' if number else ''


def link(model: dict[str, Any], text: str) -> str:
    return f'[{text}]({Path(model["Config"]).relative_to("configs").as_posix()})'


def cell(model: dict[str, Any] | None) -> str:
    """A config in a table: its costs, which are the link, and its score."""
    if model is None:
        return ''
    costs = [f'{gmacs(model)} G' if gmacs(model) else '', f'{params(model)} M' if params(model) else '']
    scores = [f'{key} {value}' for result in model.get('Results', ()) for key, value in result['Metrics'].items()]
    score = PAPER.get(model['Name'], '') if 'small' not in Path(model['Config']).parts else ', '.join(scores)
    text = link(model, ', '.join(filter(None, costs)) or 'config')
    return f'{text}: {score}' if score else text


def table(models: Iterable[dict[str, Any]], methods: Sequence[str], small: bool = False) -> str:
    """One row for every head, backbone and data set, one column for every method."""
    rows: dict[tuple[str, str, str], dict[str, dict[str, Any]]] = {}
    for model in models:
        parts = parts_of_name(model['Name'])
        rows.setdefault((parts.data, parts.head, parts.backbone), {})[parts.method] = model
    order = [list(DATA), list(HEADS), list(BACKBONES)]
    head = ['data', 'head', 'backbone', 'input', *({**METHODS, **RIVALS}[method] for method in methods)]
    lines = [[*head, *(['measured on'] if small else [])]]
    lines.append(['---'] * len(lines[0]))
    for key in sorted(rows, key=lambda key: [names.index(part) for names, part in zip(order, key)]):
        data, head, backbone = key
        row = rows[key]
        first = next(iter(row.values()))
        line = [DATA[data], HEADS[head], BACKBONES[backbone], first['Metadata']['Input']]
        line += [cell(row.get(method)) for method in methods]
        results = (result for model in row.values() for result in model.get('Results', ()))
        lines.append([*line, *(['; '.join(sorted({result['Dataset'] for result in results}))] if small else [])])
    return '\n'.join(f'| {" | ".join(line)} |' for line in lines) + '\n'


def control(model: dict[str, Any]) -> str:
    """A row for a config that fits no table, with the first sentence of its comment."""
    comment = ' '.join(re.findall('^# (.*)', PATHS[model['Name']].read_text(), re.MULTILINE))
    sentence = re.split(r'(?<!Tab)\. ', comment)[0].rstrip('.')
    cells = [link(model, model['Name']), gmacs(model), params(model), PAPER.get(model['Name'], ''), sentence]
    return f'| {" | ".join(cells)} |\n'


def render(zoo: dict[str, list[dict[str, Any]]]) -> str:
    """The page of all models."""
    models = [model for members in zoo.values() for model in members]
    compared = [model for model in models if parts_of_name(model['Name']).method in RIVALS]
    in_tables = [model for model in models if parts_of_name(model['Name']).method in METHODS]
    large = [model for model in in_tables if 'small' not in Path(model['Config']).parts]
    classifiers = [model for model in large if parts_of_name(model['Name']).head == 'classification']
    controls = [model for model in models if model not in [*in_tables, *compared]]
    return ''.join([
        HEADER, PAPERS, table(classifiers, tuple(METHODS)), TASKS,
        table((model for model in large if model not in classifiers), ('', 'atme', 'cait')), COMPARED,
        table(compared, tuple(RIVALS)), CONTROLS,
        *map(control, controls), SMALL,
        table((model for model in in_tables if model not in large), ('', 'atme', 'cait'), small=True)])


def write(path: Path, text: str) -> None:
    with atomic_path(path) as target:
        target.write_text(text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--count', action='store_true', help='count all configs again (minutes)')
    parser.add_argument('--out', type=Path, default=CONFIGS,
                        help='folder of README.md and metafiles/ (default: configs)')
    add_json_option(parser)
    args = parser.parse_args()
    (args.out / 'metafiles').mkdir(parents=True, exist_ok=True)
    zoo = {}
    for head in HEADS:
        known = read(head)
        names = sorted(name for name in PATHS if parts_of_name(name).head == head)
        zoo[head] = [entry(name, known.get(name, {}), args.count) for name in names]
        write(args.out / 'metafiles' / f'{head}.yml', yaml.safe_dump({'Models': zoo[head]}, sort_keys=False))
    write(args.out / 'README.md', render(zoo))
    report(f'{sum(map(len, zoo.values()))} configs in {args.out / "README.md"}.', zoo, args.json)


if __name__ == '__main__':
    run(main)
