"""Tokens on pictures: which patches each stands for, told from the merges themselves."""
import pytest
import torch
from conftest import plain_backbone

from cait_mm.ops.token_merge import TokenMerge
from cait_mm.report.tokens import DROPPED, grid_stages, owners_at, stages
from cait_mm.spec import make_spec

PLAIN = dict(embed_dim=24, depth=3, num_heads=3, img_size=(64, 64))


def test_a_merged_token_stands_for_the_patches_that_its_merge_averages():
    """Patches with features that are unit vectors: a mean of them names them."""
    backbone = plain_backbone('deit', out_indices=(2, ))
    image = torch.randn(1, 3, 64, 64)
    found = stages(backbone, image)
    assert [stage.count for stage in found] == [16, 8, 4] and [stage.block for stage in found] == [0, 1, 2]
    x, grid = torch.eye(16)[None], (4, 4)
    for stage, kind in zip(found[1:], ('horizontal', 'vertical')):
        merge = TokenMerge(16, kind)
        x, grid = merge(x, grid)
        for token in range(stage.count):
            patches = (stage.owners.flatten() == token).nonzero().flatten().tolist()
            assert patches == (x[0, token] > 1e-6).nonzero().flatten().tolist()
    assert owners_at(found, 1) is found[1] and owners_at(found, 0) is found[0] and owners_at(found, 9) is found[2]


def test_odd_grids_have_a_token_for_every_patch():
    spec = make_spec(dict(PLAIN, img_size=(80, 112)), ((1, 'horizontal'), (2, 'vertical')))
    for stage in grid_stages(spec, (80, 112)):
        assert stage.owners.shape == (5, 7) and sorted(set(stage.owners.flatten().tolist())) == list(range(stage.count))


def test_swin_joins_tokens_where_the_dense_model_does():
    spec = plain_backbone('swin').spec
    found = grid_stages(spec, (64, 64))
    assert [stage.grid for stage in found] == [(16, 16), (8, 8), (4, 4), (4, 2), (2, 2), (1, 1)]
    assert sum('dense model' in stage.title for stage in found) == 3
    assert found[1].owners.flatten().bincount().tolist() == [4] * 64


@pytest.mark.parametrize('tokens', [dict(type='ToMe', r=3), dict(type='EViT', keep=0.5, at=[1])])
def test_tokens_that_lie_anywhere_are_told_by_their_record(tokens):
    backbone = plain_backbone('deit', merge=(), tokens=tokens, out_indices=(2, )).eval()
    image = torch.randn(1, 3, 64, 64)
    found = stages(backbone, image)
    assert len(found) > 1 and found[0].count == 16
    for stage in found[1:]:
        kept = set(stage.owners.flatten().tolist()) - {DROPPED}
        assert stage.grid is None and stage.count < 16 and kept <= set(range(stage.count))
    if tokens['type'] == 'ToMe':
        assert DROPPED not in found[-1].owners and len(kept) == found[-1].count == 16 - 3 * 3
