"""Data of reports that were never measured, with all parts of a page, for tests of pages."""
import numpy as np
import torch
from PIL import Image

from cait_mm.report.encoding import jpeg, label_png, owners_as_bytes, rows_as_bytes
from cait_mm.report.gather import block_rows
from cait_mm.report.tokens import grid_stages
from cait_mm.spec import make_spec

NAME = 'a <b>bold</b> & "quoted" name'
SPEC = make_spec('deit_tiny', ((4, 'horizontal_weighted'), (7, 'vertical_weighted')), qk_dim=48, v_dim=40, ffn_dim=640)


def picture(seed: int, size: tuple[int, int] = (224, 160)) -> Image.Image:
    """Smooth colours."""
    pixels = np.random.default_rng(seed).integers(0, 255, (5, 7, 3), dtype=np.uint8)
    return Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC)


def timing(seconds: float) -> dict:
    return {'seconds': seconds, 'quartiles': [0.95 * seconds, 1.04 * seconds]}


def page_data(kind: str = 'segmentor', name: str = NAME) -> dict:
    """The data of a report on a ``kind``."""
    found = grid_stages(SPEC, (224, 224))
    tokens = {'picture': jpeg(picture(0, (224, 224))), 'rows': 14, 'columns': 14,
              'stages': [{'title': stage.title, 'count': stage.count, 'grid': list(stage.grid),
                          'owners': owners_as_bytes(stage.owners)} for stage in found]}
    torch.manual_seed(0)

    def attention(stage):
        return {'cls': True, 'tokens': stage.count, 'owners': owners_as_bytes(stage.owners),
                'askers': owners_as_bytes(stage.owners),
                'rows': rows_as_bytes(torch.rand(1 + stage.count, stage.count))}

    counts = {which: {part: {'macs': macs, 'params': params} for part in ('backbone', 'overall')}
              for which, macs, params in (('dense', 1.3e9, 5.7e6), ('small', 0.7e9, 4.1e6))}
    data = {
        'name': name, 'arch': 'deit_tiny', 'kind': kind, 'size': [224, 224], 'missing': [], 'weights': None,
        'counts': counts, 'blocks': block_rows(SPEC, (224, 224), 12), 'tokens': tokens,
        'attention': {'dense': attention(found[0]), 'small': attention(found[-1]), 'block': '11'},
        'speed': {'dense': timing(.05), 'small': timing(.025), 'ratio': 2., 'ratio_quartiles': [1.9, 2.1], 'rounds': 9,
                  'batch_size': 1, 'shape': [224, 224], 'noisy': False,
                  'conditions': {'CPU': 'a CPU', 'threads': 2, 'torch': '2.11.0'}},
        'spent': {'dense': {'stem': .001, 'attention': .02, 'FFN': .02, 'head': .009},
                  'small': {'stem': .001, 'attention': .008, 'FFN': .009, 'merges': .002, 'head': .005}},
        'facts': {'Models': [['file', 'C:\\<script>alert(1)</script>']], 'Machine and versions': [['torch', '2.11.0']]},
        'texts': {'config.py': 'model = dict(type="</pre></script><script>window.broken = 1</script>")'},
        'looked_at': 8,
    }
    return {**data, **{'classifier': _classifier, 'segmentor': _segmentor, 'detector': _detector}[kind]()}


def _classifier() -> dict:
    entries = [{'name': f'{index}.png', 'difference': .4 / (index + 1), 'changed': index == 0, 'truth': 'tench',
                **jpeg(picture(index)), 'dense': [['tench', .7], ['hen', .2]], 'small': [['hen', .5], ['tench', .4]]}
               for index in range(3)]
    return {'pictures': entries, 'quality': [
        {'what': 'top-1', 'unit': '%', 'dense': 80., 'small': 78., 'change': -2., 'interval_of_change': [-5., 1.],
         'on': '8 labelled images'}]}


def _segmentor() -> dict:
    palette, maps = [(200, 30, 30), (30, 200, 30), (30, 30, 200)], []
    for index in range(3):
        first = np.random.default_rng(index).integers(0, 3, (5, 7)).repeat(32, 0).repeat(32, 1)
        second = np.roll(first, 8 * (3 - index), 1)
        maps.append((first, second))
    entries = [{'name': f'{NAME}{index}.png', 'difference': float((first != second).mean()), **jpeg(picture(index)),
                'dense': label_png(first, palette), 'small': label_png(second, palette),
                'truth': label_png(first, palette),
                'apart': label_png(np.where(first != second, 0, 255), [(255, 0, 80)])}
               for index, (first, second) in enumerate(maps)]
    return {'pictures': entries, 'legend': [['sky', '#c81e1e'], ['<i>road</i>', '#1ec81e'], ['tree', '#1e1ec8']],
            'classes': [{'name': '<i>road</i>', 'dense': 70., 'small': 60.},
                        {'name': 'sky', 'dense': 80., 'small': 81.}],
            'classes_against': 'the labels', 'quality': [
                {'what': 'mIoU', 'unit': '%', 'dense': 75., 'small': 70.5, 'change': -4.5,
                 'interval_of_change': [-6., -2.], 'on': '8 labelled pictures'}]}


def _detector() -> dict:
    def box(state, left):
        return {'box': [left, .2, left + .3, .7], 'score': .8, 'name': 'boat', 'state': state}

    entries = [{'name': f'{index}.png', 'difference': .5, 'lost': 1, 'won': 1, **jpeg(picture(index)),
                'dense': [box('kept', .1), box('lost', .5)], 'small': [box('kept', .12), box('won', .6)]}
               for index in range(2)]
    return {'pictures': entries, 'boxes': [{'name': 'boat', 'kept': 2, 'lost': 2, 'won': 2}], 'quality': [
        {'what': 'boxes of the dense model that are found again', 'unit': '%', 'small': 50., 'on': '4 boxes'}]}


def run_data() -> dict:
    """What a compression run adds."""
    steps = list(range(0, 100, 5))
    curves = {key: [steps, [index / 20 for index in range(20)]] for key in
              ('cdcp/wanted', 'cdcp/reduction', 'cdcp/masked_norm', 'loss', 'top1')}
    heads = {module: {'near': [index % 5 for index in range(36)], 'cut': [index % 4 for index in range(36)]}
             for module in 'qkv'}
    return {'run': {'curves': curves, 'heads': heads, 'channels': {}}}
