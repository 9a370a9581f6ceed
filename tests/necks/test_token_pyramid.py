import pytest
import torch
import torch.nn.functional as F
from mmengine.registry import MODELS

from cait_mm.config.load import load_config
from cait_mm.errors import UserError
from cait_mm.necks import SimplePyramid, TokenPyramid
from cait_mm.tasks import Encoder, build_model


@pytest.mark.parametrize('library', ['mmseg', 'mmdet'])
def test_both_libraries_build_it(library):
    models = __import__(f'{library}.registry', fromlist=['MODELS']).MODELS
    neck = models.build(dict(type='TokenPyramid', embed_dim=6, norm_cfg=dict(type='BN')))
    maps = neck([torch.randn(2, 6, 7, 10) for _ in range(4)])
    assert [tuple(item.shape) for item in maps] == [(2, 6, 28, 40), (2, 6, 14, 20), (2, 6, 7, 10), (2, 6, 3, 5)]


def test_gradients_reach_all_weights():
    neck = MODELS.build(dict(type='TokenPyramid', embed_dim=6, norm_cfg=dict(type='BN')))
    sum(item.square().sum() for item in neck([torch.randn(2, 6, 4, 4)] * 4)).backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in neck.parameters() if parameter.ndim > 1)


def test_wrong_use_is_a_sentence():
    with pytest.raises(UserError, match='rescales=3'):
        MODELS.build(dict(type='TokenPyramid', embed_dim=6, rescales=(3,)))
    neck = MODELS.build(dict(type='TokenPyramid', embed_dim=6, norm_cfg=dict(type='BN')))
    with pytest.raises(UserError, match='has 4 factors and was given 2 maps'):
        neck([torch.randn(1, 6, 4, 4)] * 2)


def test_a_detector_runs_on_the_backbone_and_the_pyramid(tmp_path):
    config_file = tmp_path / 'mask_rcnn.py'
    config_file.write_text('''
_base_ = ['mmdet::_base_/models/mask-rcnn_r50_fpn.py']
default_scope = 'mmdet'
custom_imports = dict(imports=['cait_mm'], allow_failed_imports=False)
model = dict(
    backbone=dict(_delete_=True, type='CAITDeiT', arch=dict(embed_dim=24, depth=4, num_heads=3),
                  merge=((1, 'horizontal'), (3, 'vertical')), out_indices=(0, 1, 2, 3)),
    neck=[dict(type='TokenPyramid', embed_dim=24, norm_cfg=dict(type='BN')),
          dict(type='FPN', in_channels=[24] * 4, out_channels=16, num_outs=5)],
    rpn_head=dict(in_channels=16, feat_channels=16),
    roi_head=dict(bbox_roi_extractor=dict(out_channels=16), mask_roi_extractor=dict(out_channels=16),
                  bbox_head=dict(in_channels=16, fc_out_channels=32, num_classes=3),
                  mask_head=dict(in_channels=16, conv_out_channels=16, num_classes=3)),
    test_cfg=dict(rpn=dict(max_per_img=20)))
''')
    model = build_model(load_config(str(config_file)))
    image = torch.randn(1, 3, 80, 133)
    assert [tuple(item.shape[-2:]) for item in Encoder(model)(image)] == [(20, 36), (10, 18), (5, 9), (2, 4), (1, 2)]
    from mmdet.structures import DetDataSample
    from mmdet.structures.mask import BitmapMasks
    from mmengine.structures import InstanceData
    boxes = torch.tensor([[10., 10., 60., 60.]])
    sample = DetDataSample(metainfo=dict(img_shape=(80, 133), batch_input_shape=(80, 133), pad_shape=(80, 133)))
    sample.gt_instances = InstanceData(bboxes=boxes, labels=torch.tensor([1]),
                                       masks=BitmapMasks(torch.ones(1, 80, 133).byte().numpy(), 80, 133))
    losses = model.train().loss(image, [sample])
    total = sum(sum(value) if isinstance(value, list) else value for name, value in losses.items() if 'loss' in name)
    total.backward()
    assert torch.isfinite(total) and model.backbone.merges['1'].fuse.weight.grad.abs().sum() > 0


@pytest.mark.parametrize('size', [(1, 1), (1, 30), (30, 1), (1, 29), (3, 2), (2, 5)])
@pytest.mark.parametrize('training', [True, False])
def test_a_side_of_one_patch_stays(size, training):
    neck = TokenPyramid(8, norm_cfg=dict(type='BN')).train(training)
    maps = neck([torch.randn(1, 8, *size)] * 4)
    sides = [tuple(max(1, int(side * factor)) for side in size) for factor in (4, 2, 1, 0.5)]
    assert [tuple(item.shape[-2:]) for item in maps] == sides


def by_hand(op, x, factor):
    """One scale of ViTDet's pyramid from its weights, in the order in which they are used."""
    weights = iter(op.parameters())

    def norm(x):
        mean, variance = x.mean(1, keepdim=True), x.var(1, unbiased=False, keepdim=True)
        weight, bias = next(weights), next(weights)
        return (x - mean) / (variance + 1e-6).sqrt() * weight[:, None, None] + bias[:, None, None]

    if factor > 1:
        x = F.conv_transpose2d(x, next(weights), next(weights), stride=2)
    if factor == 4:
        x = F.conv_transpose2d(F.gelu(norm(x)), next(weights), next(weights), stride=2)
    if factor < 1:
        x = F.max_pool2d(x, 2)
    x = norm(F.conv2d(x, next(weights)))
    return norm(F.conv2d(x, next(weights), padding=1))


def test_the_simple_pyramid_is_vitdets():
    """detectron2's SimpleFeaturePyramid, with LastLevelMaxPool behind it."""
    neck = MODELS.build(dict(type='SimplePyramid', embed_dim=16, out_channels=6, num_outs=5)).eval()
    for parameter in neck.parameters():
        torch.nn.init.normal_(parameter, std=.5)
    ignored, x = torch.full((1, 16, 3, 3), torch.nan), torch.randn(2, 16, 8, 6)
    with torch.no_grad():
        maps = neck([ignored, x])
        for item, op, factor in zip(maps, neck.ops, (4, 2, 1, 0.5)):
            torch.testing.assert_close(item, by_hand(op, x, factor), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(maps[4], maps[3][..., ::2, ::2])
    with pytest.raises(UserError, match='num_outs=3: it has 4 factors'):
        SimplePyramid(16, 6, 3)
