import pytest
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS
from torch import nn

from cait_mm.errors import UserError


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        arch = dict(embed_dim=24, depth=2, num_heads=3, img_size=(32, 32))
        self.backbone = MODELS.build(dict(type='CAITDeiT', arch=arch, merge=((1, 'horizontal'),), out_indices=(1,)))
        self.decode_head = nn.Sequential(nn.Linear(24, 2), nn.Embedding(3, 2))


def groups(model, **paramwise):
    wrapper = build_optim_wrapper(model, dict(
        type='OptimWrapper', constructor='LayerDepthDecayConstructor', paramwise_cfg=paramwise,
        optimizer=dict(type='AdamW', lr=1., weight_decay=0.1)))
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return {names[id(parameter)]: (group['lr'], group['weight_decay'])
            for group in wrapper.optimizer.param_groups for parameter in group['params']}


def test_rates_fall_with_depth_and_norms_do_not_decay():
    model = Net()
    rates = groups(model, decay_rate=0.5)
    assert set(rates) == {name for name, _ in model.named_parameters()}
    assert rates['decode_head.0.weight'] == (1., 0.1) and rates['decode_head.1.weight'] == (1., 0.)
    assert rates['backbone.blocks.1.attn.qkv.weight'] == rates['backbone.merges.1.fuse.weight'] == (0.5, 0.1)
    assert rates['backbone.blocks.0.norm1.weight'] == (0.25, 0.)
    assert rates['backbone.patch_embed.proj.weight'] == (0.125, 0.1)
    assert rates['backbone.pos_embed'] == (0.125, 0.)


def test_tokens_do_not_decay():
    model = Net()
    arch = dict(embed_dim=24, depth=2, num_heads=3, img_size=(32, 32), reg_tokens=2, dist_token=True)
    model.backbone = MODELS.build(dict(type='CAITViT', arch=arch, out_indices=(1,)))
    rates = groups(model, decay_rate=0.5)
    assert {rates[f'backbone.{name}_token'] for name in ('cls', 'dist', 'reg')} == {(0.125, 0.)}


def test_frozen_parameters_stay_out():
    model = Net()
    model.backbone.pos_embed.requires_grad = False
    assert 'backbone.pos_embed' not in groups(model, decay_rate=0.5)


def test_wrong_use_is_a_sentence():
    with pytest.raises(UserError, match='needs paramwise_cfg'):
        groups(Net())
    for rate in (0, -1, 1.5, float('nan'), 'x'):
        with pytest.raises(UserError, match='above 0 and at most 1'):
            groups(Net(), decay_rate=rate)
    with pytest.raises(UserError, match='needs a model whose backbone has get_layer_depth'):
        groups(nn.Linear(2, 2), decay_rate=0.5)
