"""What the quick start has measured, in the form of a page's data."""
import json

import pytest

from cait_mm.report.answer import answer
from cait_mm.report.quickstart import NAMES, as_speed, checkpoint_in, is_quickstart, measured
from cait_mm.report.sources import kind_of

TIMED = {
    'against': 'dense.py', 'conditions': {'CPU': 'a CPU', 'threads': 2, 'torch': '2.11', 'mode dtype': 'float32',
                                          'rounds': 10, 'batch_size': 8, 'shape': [192, 192]},
    'models': {'dense.py': {'overall': {'seconds': .8, 'quartiles': [.7, .9], 'noisy': True, 'speedup': 1.}},
               'cait.py': {'overall': {'seconds': .4, 'quartiles': [.38, .41], 'noisy': False, 'speedup': 2.}}}}


def test_times_of_the_benchmark_are_those_of_the_page():
    speed = as_speed(TIMED)
    assert (speed['dense']['seconds'], speed['small']['seconds'], speed['ratio'], speed['noisy']) == (.8, .4, 2., True)
    assert speed['ratio_quartiles'] == pytest.approx([.7 / .41, .9 / .38])
    details = ' '.join(answer({'speed': speed})['cards'][0]['details'])
    assert 'batch 8 of 192×192 pixels, float32, a CPU, 2 threads' in details


def test_scores_are_those_of_the_whole_validation_split(tmp_path):
    for which, name in NAMES.items():
        (tmp_path / name).mkdir()
        (tmp_path / f'{name}.py').write_text('')
        metrics = {'mIoU': 40. if which == 'dense' else 38.5, 'aAcc': 80., 'mAcc': 50.}
        (tmp_path / name / 'result.json').write_text(json.dumps({'metrics': metrics}))
    (tmp_path / 'settings.json').write_text(json.dumps({'iters': 1000, 'val': 80}))
    (tmp_path / 'speed.json').write_text(json.dumps(TIMED))
    assert is_quickstart(tmp_path) and kind_of(tmp_path) == 'quickstart'
    assert checkpoint_in(tmp_path, 'small') == tmp_path / 'upernet_cait_deit_scenes' / 'iter_1000.pth'
    row = measured(tmp_path)['quality'][0]
    assert (row['what'], row['dense'], row['small'], row['change']) == ('mIoU', 40., 38.5, -1.5)
    assert row['on'].startswith('80 validation scenes')
