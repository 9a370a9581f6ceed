import json
import subprocess
import sys
from dataclasses import FrozenInstanceError

import pytest

from cait_mm.errors import UserError
from cait_mm.spec import Merge, Spec, make_spec

MERGES = ((4, 'horizontal'), (7, 'vertical'))


def test_json_round_trip_keeps_everything():
    spec = make_spec('deit_small', MERGES, qk_dim=[64, 40] * 6, v_dim=48, ffn_dim=range(1000, 1012))
    again = Spec.from_json(spec.to_json())
    assert again == spec and hash(again) == hash(spec)
    assert json.loads(spec.to_json())['version'] == 1
    assert again.merges == (Merge(4, 'horizontal'), Merge(7, 'vertical'))
    assert [block.ffn_dim for block in again.blocks] == list(range(1000, 1012))


def test_free_architectures_round_trip_too():
    spec = make_spec(dict(embed_dim=32, depth=3, num_heads=2, mlp_ratio=2, patch_size=8, img_size=(64, 96)))
    assert spec.grids() == [(8, 12)] * 3 and spec.blocks[0].ffn_dim == 64
    assert Spec.from_json(spec.to_json()) == spec


def test_a_spec_is_frozen():
    with pytest.raises(FrozenInstanceError):
        make_spec('deit_tiny').merges = ()


def test_grids_follow_the_merges_and_pad_odd_sides():
    spec = make_spec('deit_tiny', ((3, 'horizontal'), (7, 'vertical'), (9, 'horizontal')))
    assert [spec.grids()[block] for block in (0, 3, 7, 9, 11)] == [(14, 14), (14, 7), (7, 7), (7, 4), (7, 4)]
    assert spec.grids((512, 683))[3] == (32, 22), '683 pixels are 43 columns, merged to 22'


def test_dense_means_no_merge_and_full_width():
    assert make_spec('deit_base') == Spec.dense('deit_base') != make_spec('deit_base', MERGES)
    assert make_spec('deit_base', qk_dim=56).is_pruned and not make_spec('deit_base', MERGES).is_pruned


@pytest.mark.parametrize('kwargs,message', [
    (dict(arch='deit_huge'), "unknown architecture 'deit_huge'"),
    (dict(arch=dict(embed_dim=30, depth=2, num_heads=4)), 'embed_dim=30 is not divisible by num_heads=4'),
    (dict(arch=dict(depth=2, num_heads=4)), 'arch lacks embed_dim'),
    (dict(arch=dict(embed_dim=32, depth=2, num_heads=4, width=3)), 'unknown keys width'),
    (dict(merge=((12, 'horizontal'),)), 'merge 12:horizontal: deit_tiny has blocks 0 to 11'),
    (dict(merge=((4, 'sideways'),)), "unknown kind 'sideways'"),
    (dict(merge=((4, 'horizontal'), (4, 'vertical'))), 'block 4 already has a merge'),
    (dict(merge=[(i, 'horizontal') for i in range(5)]), 'merge 4:horizontal: the grid there is 14x1'),
    (dict(merge='4:horizontal'), 'is a string'),
    (dict(merge=(4, 7)), 'not a list of'),
    (dict(qk_dim=65), 'block 0: qk_dim=65 is more than the dense 64'),
    (dict(v_dim=0), 'v_dim=0 must be a positive whole number'),
    (dict(ffn_dim=[768] * 11), 'ffn_dim has 11 widths, deit_tiny has 12 blocks'),
    (dict(ffn_dim=[768] * 11 + [1.5]), 'block 11: ffn_dim=1.5'),
])
def test_the_impossible_is_refused_by_name(kwargs, message):
    with pytest.raises(UserError, match=message):
        make_spec(**{'arch': 'deit_tiny', **kwargs})


@pytest.mark.parametrize('change,message', [
    (dict(version=2), 'version 2 is unknown'),
    (dict(extra=1), 'unknown keys extra'),
    (dict(blocks=[]), 'has 0 blocks'),
])
def test_a_foreign_spec_is_refused(change, message):
    data = {**make_spec('deit_tiny').to_dict(), **change}
    with pytest.raises(UserError, match=message):
        Spec.from_dict(data)
    with pytest.raises(UserError, match='not a cait_mm spec'):
        Spec.from_json('{"arch": 1}')
    with pytest.raises(UserError, match='not a cait_mm spec'):
        Spec.from_json('{')


def test_spec_and_ops_import_no_mm_package(repo):
    # The package root registers everything; a bare path shows what the two really need.
    code = ('import sys, types; package = types.ModuleType("cait_mm"); package.__path__ = ["cait_mm"]; '
            'sys.modules["cait_mm"] = package; import cait_mm.spec, cait_mm.ops.attention; '
            'print([name for name in sys.modules if name.split(".")[0] in ("mmengine", "mmcv", "mmseg", "mmdet")])')
    done = subprocess.run([sys.executable, '-c', code], cwd=repo, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == '[]'
