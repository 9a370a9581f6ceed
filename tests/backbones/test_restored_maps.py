"""Whatever was merged, heads see the maps of the dense backbone: same number, channels and strides, at any size."""
import pytest
import torch
from conftest import FAMILIES
from mmengine.registry import MODELS

SIZES = [(512, 512), (512, 683), (800, 1333), (896, 896), (224, 224), (352, 352)]


@pytest.mark.parametrize('size', SIZES, ids=lambda size: '{}x{}'.format(*size))
@pytest.mark.parametrize('family', FAMILIES)
def test_merged_maps_have_the_dense_shapes_and_the_usual_strides(family, size):
    config = dict(FAMILIES[family], out_indices=(0, 1, 2))
    strides = (4, 8, 16) if family == 'swin' else (16, 16, 16)
    image = torch.randn(1, 3, *size)
    with torch.no_grad():
        merged, dense = (MODELS.build(dict(config, merge=merge)).eval()(image) for merge in (config['merge'], ()))
    assert [item.shape for item in merged] == [item.shape for item in dense]
    for item, stride in zip(merged, strides):
        # Swin rounds up at every stage, which is rounding up once.
        assert tuple(item.shape[-2:]) == tuple(-(-side // stride) for side in size)


@pytest.mark.parametrize('size', [(512, 683), (352, 352)], ids=lambda size: '{}x{}'.format(*size))
@pytest.mark.parametrize('family', ['deit', 'lvvit'])
def test_the_pyramid_gives_the_same_maps_behind_a_merged_backbone(family, size):
    config = dict(FAMILIES[family], out_indices=(0, 1, 2))
    dim = config['arch']['embed_dim']
    neck = MODELS.build(dict(type='TokenPyramid', embed_dim=dim, rescales=(4, 2, 0.5), norm_cfg=dict(type='BN'))).eval()
    image = torch.randn(1, 3, *size)
    with torch.no_grad():
        merged, dense = (neck(MODELS.build(dict(config, merge=merge)).eval()(image)) for merge in (config['merge'], ()))
    assert [item.shape for item in merged] == [item.shape for item in dense]
