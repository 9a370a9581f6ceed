"""EViT against its description written out token by token, and the MACs of its paper."""
import math

import pytest
import torch
from slow_blocks import attended, embedded, fed, lively

from cait_mm.errors import UserError
from cait_mm.macs import classifier_cost
from cait_mm.models.base import last
from cait_mm.models.deit import DeiT
from cait_mm.models.vit import ViT
from cait_mm.spec import make_spec

ARCH = dict(embed_dim=24, depth=5, num_heads=3, img_size=(80, 112))


def by_hand(model, image, share, at, fuse, prefix):
    """The last block's tokens of one image."""
    x = embedded(model, image)
    for index, block in enumerate(model.blocks):
        x, attention = attended(block, x)
        patches = range(len(x) - prefix)
        if index in at:
            scores = [sum(head[0, prefix + patch] for head in attention) / len(attention) for patch in patches]
            ranked = sorted(patches, key=lambda patch: -scores[patch])
            kept = math.ceil(share * len(patches))
            rows = [x[prefix + patch] for patch in ranked[:kept]]
            if fuse:
                rows.append(sum(scores[patch] * x[prefix + patch] for patch in ranked[kept:]))
            x = torch.cat([x[:prefix], torch.stack(rows)])
        x = fed(block, x)
    return x


@pytest.mark.parametrize('share', [0.7, 0.31])
@pytest.mark.parametrize('fuse', [True, False])
@torch.no_grad()
def test_tokens_are_those_of_the_description(share, fuse):
    model = lively(DeiT(ARCH, tokens=dict(type='EViT', keep=share, at=(0, 2, 4), fuse=fuse), out_indices=(4,)))
    images = torch.randn(2, 3, 80, 112)
    tokens = last(model._stream(images)).x
    for image, own in zip(images, tokens):
        torch.testing.assert_close(own, by_hand(model, image[None], share, (0, 2, 4), fuse, 1), atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_registers_pass_by():
    model = lively(ViT(dict(ARCH, reg_tokens=2), tokens=dict(type='EViT', keep=0.5, at=(1, 3)), out_indices=(4,)))
    image = torch.randn(1, 3, 80, 112)
    torch.testing.assert_close(last(model._stream(image)).x[0], by_hand(model, image, 0.5, (1, 3), True, 3), atol=1e-4,
                               rtol=1e-4)


@torch.no_grad()
def test_a_share_of_one_is_the_dense_model():
    image = torch.randn(2, 3, 80, 112)
    model, dense = (DeiT(ARCH, tokens=tokens, out_indices=(2, 4)).eval()
                    for tokens in (dict(type='EViT', keep=1, at=(1, 3)), None))
    dense.load_state_dict(model.state_dict())
    assert all(torch.equal(*pair) for pair in zip(model(image), dense(image)))


@torch.no_grad()
def test_unmerged_patches_hold_the_fused_token():
    model = lively(DeiT(ARCH, tokens=dict(type='EViT', keep=0.4, at=(3, ), restore='unmerge'), out_indices=(4,)))
    image = torch.randn(1, 3, 80, 112)
    tokens, (maps, ) = last(model._stream(image)).x[0], model(image)
    fused = maps[0].flatten(1).T.eq(tokens[-1]).all(1)
    assert fused.sum() == 35 - 14


@pytest.mark.parametrize('share, fuse, macs', [(0.7, True, 3.0), (0.6, True, 2.6), (0.5, True, 2.3), (0.9, True, 4.0),
                                               (0.8, True, 3.5), (0.7, False, 3.0)])
def test_it_costs_what_its_paper_says(share, fuse, macs):
    """DeiT-S, in G; norms and the second product of CLS are counted here, and not there."""
    cost = classifier_cost(make_spec('deit_small', tokens=dict(type='EViT', keep=share, fuse=fuse))).macs
    assert cost / 1e9 == pytest.approx(macs, abs=0.05)


@pytest.mark.parametrize('settings, words', [
    (dict(keep=0), 'keep=0'), (dict(keep=1.1), 'keep=1.1'), (dict(keep='x'), 'keep='), (dict(at=3), 'at=3'),
    (dict(at=(3, 3)), 'at='), (dict(at=(-1, )), 'at'), (dict(at=(12, )), 'block 12'), (dict(fuse=1), 'fuse=1'),
    (dict(restore='zeros'), 'restore='), (dict(fuse=False, restore='unmerge'), 'fused token'),
])
def test_bad_settings_are_a_sentence(settings, words):
    with pytest.raises(UserError, match=words):
        DeiT('deit_tiny', tokens=dict(type='EViT', **settings))


@pytest.mark.parametrize('tokens', [dict(type='EViT'), dict(type='LFE', kept=(9, ) * 5),
                                    dict(type='DiffRate', kept=(9, ) * 5, merged=(9, ) * 5)])
def test_those_that_ask_cls_want_it(tokens):
    tokens = dict(tokens, at=(3, )) if tokens['type'] == 'EViT' else tokens
    with pytest.raises(UserError, match='leave with_cls_token=False out'):
        DeiT(ARCH, tokens=tokens, out_indices=(4,), with_cls_token=False)
    with pytest.raises(UserError, match='has none'):
        make_spec(dict(ARCH, class_token=False, global_pool='avg'), tokens=tokens, family='vit')
