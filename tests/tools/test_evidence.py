"""The evidence scripts compare what they say they compare."""
import runpy

import pytest
import torch
from conftest import ROOT

from cait_mm.analysis.flops import reduction
from cait_mm.analysis.modes import Mode
from cait_mm.backbones.checkpoint import read_checkpoint

SPEED = runpy.run_path(str(ROOT / 'tools/evidence/speed.py'))
MEANS = runpy.run_path(str(ROOT / 'tools/evidence/means.py'))


@pytest.mark.parametrize('name', SPEED['CASES'])
def test_cases_name_configs_that_are_there_the_dense_one_first(name):
    case = SPEED['CASES'][name]
    names = [case.configs.format(kind) for kind in case.kinds] + list(case.others)
    assert case.kinds[0] == '' and all((ROOT / 'configs' / f'{name}.py').is_file() for name in names), names


def test_the_stand_in_is_an_export_at_the_papers_target(tmp_path):
    path = SPEED['stand_in']('deit_t', tmp_path)
    spec = read_checkpoint(str(path)).spec
    assert reduction(spec) == pytest.approx(0.505, abs=1e-3)
    assert all(block.qk_dim % 8 == block.v_dim % 8 == block.ffn_dim % 8 == 0 for block in spec.blocks)


@pytest.mark.parametrize('name', ['vertical_merge_without_a_copy', 'cls_apart', 'restoring_by_repeating',
                                  'lazy_restoring', 'pyramid_in_channels_last'])
def test_a_means_changes_nothing_but_the_time(name):
    with torch.no_grad():
        without, using = (call() for call in getattr(MEANS['Bench'](Mode(), 1), name)())
    for mine, theirs in zip(*([item] if torch.is_tensor(item) else item for item in (without, using))):
        if torch.is_tensor(mine):
            torch.testing.assert_close(theirs.reshape(mine.shape), mine, atol=1e-5, rtol=1e-5)
