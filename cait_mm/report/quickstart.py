"""The folder of the quick start: two segmentors of drawn scenes, trained, evaluated and timed by its commands."""
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cait_mm.compression.model import load_trained
from cait_mm.config.load import load_config
from cait_mm.report.facts import file_rows
from cait_mm.report.pair import Pair
from cait_mm.report.samples import labelled, shown_crop
from cait_mm.utils.files import read_json

NAMES = {'dense': 'upernet_deit_scenes', 'small': 'upernet_cait_deit_scenes'}
SIZE = (192, 192)
"""Pixels of the scenes."""
PICTURES = 12


def is_quickstart(folder: Path) -> bool:
    return (folder / 'settings.json').is_file() and (folder / f'{NAMES["small"]}.py').is_file()


def checkpoint_in(folder: Path, which: str) -> Path:
    """The last checkpoint of one of the segmentors."""
    return folder / NAMES[which] / f'iter_{read_json(folder / "settings.json")["iters"]}.pth'


def open_quickstart(folder: Path, count: int | None = None) -> Pair:
    """The two segmentors, with the scores and times that the quick start has measured.

    Raises:
        UserError: The quick start has not come to its end.
    """
    configs = {which: load_config(str(folder / f'{name}.py')) for which, name in NAMES.items()}
    files = {which: checkpoint_in(folder, which) for which in NAMES}
    models = {which: load_trained(config, str(files[which]))[0] for which, config in configs.items()}
    inputs, meta = labelled(configs['small'], count or PICTURES) or ([], {})
    return Pair(
        'UperNet on embedded scenes', models['dense'], models['small'], SIZE, names=tuple(meta.get('classes') or ()),
        inputs=inputs, palette=meta.get('palette'),
        shown=shown_crop(configs['small'], inputs[0]['data_samples'][0].img_path, SIZE) if inputs else None,
        weights=files['small'], measured=measured(folder),
        facts={'Models': file_rows(dense_weights=files['dense'], compressed_weights=files['small']),
               'Data': [('pictures', f'{len(inputs)} validation scenes, with labels'),
                        *read_json(folder / 'settings.json').items()]},
        texts={f'{NAMES["small"]}.py': (folder / f'{NAMES["small"]}.py').read_text(encoding='utf-8')})


def measured(folder: Path) -> dict[str, Any]:
    """The scores and the times of a whole quick start, in the form of a page's data."""
    scores = {which: read_json(folder / name / 'result.json')['metrics'] for which, name in NAMES.items()}
    return {'quality': [{'what': name, 'unit': '%', 'dense': scores['dense'][name], 'small': scores['small'][name],
                         'change': scores['small'][name] - scores['dense'][name],
                         'on': f'{read_json(folder / "settings.json")["val"]} validation scenes, both fine-tuned with '
                         'labels'} for name in ('mIoU', 'aAcc') if all(name in one for one in scores.values())],
            'speed': as_speed(read_json(folder / 'speed.json'))}


def as_speed(timed: Mapping[str, Any]) -> dict[str, Any]:
    """A result of ``tools/benchmark.py`` on two models in the form of a page's data; the interval of the ratio is that
    of their quartiles.
    """
    dense = timed['models'][timed['against']]['overall']
    small = next(model['overall'] for path, model in timed['models'].items() if path != timed['against'])
    conditions = timed['conditions']
    return {'dense': {key: dense[key] for key in ('seconds', 'quartiles')},
            'small': {key: small[key] for key in ('seconds', 'quartiles')}, 'ratio': small['speedup'],
            'ratio_quartiles': [dense['quartiles'][0] / small['quartiles'][1],
                                dense['quartiles'][1] / small['quartiles'][0]],
            'rounds': conditions['rounds'], 'batch_size': conditions['batch_size'], 'shape': conditions['shape'],
            'noisy': dense['noisy'] or small['noisy'], 'dtype': conditions.get('mode dtype', 'float32'),
            'conditions': conditions}

