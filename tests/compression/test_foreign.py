"""MMSegmentation's and MMDetection's own backbones against their conversions, with all weights random."""
import pytest
import torch
from mmdet.models import SwinTransformer as DetectionSwin
from mmengine.registry import MODELS
from mmseg.models import MAE, BEiT, SwinTransformer, VisionTransformer

from cait_mm.compression.foreign import as_ours
from cait_mm.errors import UserError

VIT = dict(type='VisionTransformer', img_size=(64, 96), patch_size=16, embed_dims=24, num_layers=4, num_heads=3)
SWIN = dict(type='SwinTransformer', embed_dims=12, depths=(1, 2, 3, 2), num_heads=(1, 2, 2, 3), window_size=4)
KINDS = {'VisionTransformer': VisionTransformer, 'SwinTransformer': SwinTransformer,
         'mmdet.SwinTransformer': DetectionSwin, 'BEiT': BEiT, 'MAE': MAE}
BEIT = {**VIT, 'type': 'BEiT', 'out_indices': (0, 1, 3)}
SIZES = (64, 96), (96, 80), (150, 61)


def random_weights(module):
    """Norms, biases and tables too."""
    for parameter in module.parameters():
        parameter.data.normal_(0, 0.3 if parameter.dim() > 1 else 0.1)
        parameter.data.add_(1. if parameter.dim() == 1 else 0.)
    module.eval()  # theirs returns nothing
    return module


def both(settings):
    """Theirs, and ours with its weights, loaded strictly."""
    theirs = random_weights(KINDS[settings['type']](**{key: value for key, value in settings.items()
                                                       if key != 'type'}))
    ours = MODELS.build(as_ours(settings)).eval()
    ours.load_state_dict(theirs.state_dict())
    return theirs, ours


@pytest.mark.parametrize('settings', [
    dict(VIT, out_indices=(0, 1, 3)),
    dict(VIT, out_indices=(0, 2), patch_bias=True, qkv_bias=False, norm_cfg=dict(type='LN', eps=1e-6)),
    dict(VIT, final_norm=True, with_cls_token=False, mlp_ratio=2, in_channels=1),
    dict(VIT, final_norm=True, out_indices=(1, 2)),
    dict(SWIN),
    dict(SWIN, out_indices=(1, 2), qkv_bias=False, mlp_ratio=2, in_channels=1, window_size=7),
    dict(SWIN, type='mmdet.SwinTransformer'),
], ids=['vit', 'vit-bias', 'vit-no-cls', 'vit-unused-norm', 'swin', 'swin-window-7', 'mmdet'])
@torch.no_grad()
def test_outputs_are_theirs_at_three_sizes(settings):
    theirs, ours = both(settings)
    for size in SIZES:
        image = torch.randn(2, settings.get('in_channels', 3), *size)
        wanted, actual = theirs(image), ours(image)
        assert len(wanted) == len(actual)
        for one, other in zip(wanted, actual):
            assert one.shape == other.shape
            scale = float(one.abs().max())
            assert torch.allclose(one, other, atol=1e-5 * max(1., scale), rtol=1e-5)


@pytest.mark.parametrize('settings', [
    BEIT, dict(BEIT, qv_bias=False, final_norm=True, out_indices=-1), dict(BEIT, type='MAE'),
], ids=['beit', 'beit-no-bias', 'mae'])
@torch.no_grad()
def test_outputs_are_theirs_at_the_one_size_that_they_take(settings):
    theirs, ours = both(settings)
    image = torch.randn(2, 3, 64, 96)
    for one, other in zip(theirs(image), ours(image), strict=True):
        torch.testing.assert_close(other, one, atol=1e-5 * max(1., float(one.abs().max())), rtol=1e-5)
    assert [tuple(item.shape[2:]) for item in ours(torch.randn(1, 3, 150, 61))] == [(10, 4)] * len(ours.out_indices)


@torch.no_grad()
def test_grids_below_a_window_are_where_the_rules_part():
    theirs, ours = both(SWIN)
    image = torch.randn(1, 3, 64, 64)
    described = as_ours(SWIN)
    official = MODELS.build({**described, 'arch': {**described['arch'], 'window_rule': 'fitted'}}).eval()
    official.load_state_dict(theirs.state_dict())
    assert torch.allclose(official(image)[1], ours(image)[1], atol=1e-5)
    assert not torch.allclose(official(image)[3], ours(image)[3], atol=1e-2)


@pytest.mark.parametrize('change,message', [
    (dict(out_origin=True), 'out_origin=True'), (dict(patch_norm=True), 'patch_norm=True'),
    (dict(act_cfg=dict(type='ReLU')), 'act_cfg of the type ReLU'), (dict(norm_cfg=dict(type='BN')), 'norm_cfg'),
    (dict(interpolate_mode='bilinear'), "interpolate_mode='bilinear'"), (dict(unheard=1), 'unheard=1'),
    (dict(output_cls_token=True), 'output_cls_token'), (dict(pre_norm=True), 'pre_norm'),
])
def test_a_vit_without_an_equal_is_refused(change, message):
    with pytest.raises(UserError, match='cannot be compressed') as error:
        as_ours({**VIT, **change})
    assert message in str(error.value)


@pytest.mark.parametrize('change', [
    dict(use_abs_pos_embed=True), dict(patch_norm=False), dict(qk_scale=0.1), dict(strides=(4, 2, 2, 1)),
    dict(norm_cfg=dict(type='LN', eps=1e-6)),
])
def test_a_swin_without_an_equal_is_refused(change):
    with pytest.raises(UserError, match='cannot be compressed'):
        as_ours({**SWIN, **change})


def test_known_architectures_get_their_names_and_others_are_not_theirs():
    small = dict(type='VisionTransformer', embed_dims=384, num_heads=6, norm_cfg=dict(type='LN', eps=1e-6))
    assert as_ours(small)['arch'] == 'deit_small'
    assert as_ours(dict(small, norm_cfg=dict(type='LN')))['arch']['norm_eps'] == 1e-5
    assert as_ours(dict(type='ResNet')) is None
