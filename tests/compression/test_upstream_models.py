"""Whole models of MMSegmentation's and MMDetection's own configs go in and come out."""
from pathlib import Path

import mmdet
import mmseg
import pytest
import torch

from cait_mm.compression.model import compress_model, load_trained
from cait_mm.config.load import load_config
from cait_mm.tasks import build_model, task_of

SEG, DET = (Path(library.__file__).parent / '.mim' / 'configs' for library in (mmseg, mmdet))
CONFIGS = {
    'upernet': f"""
_base_ = '{SEG}/_base_/models/upernet_vit-b16_ln_mln.py'
default_scope = 'mmseg'
norm_cfg = dict(_delete_=True, type='BN')
model = dict(
    pretrained=None, data_preprocessor=dict(size=(96, 96)),
    backbone=dict(img_size=(96, 96), embed_dims=24, num_layers=6, num_heads=3, out_indices=(1, 2, 3, 5)),
    neck=dict(in_channels=[24] * 4, out_channels=24),
    decode_head=dict(in_channels=[24] * 4, channels=8, num_classes=5, norm_cfg=norm_cfg),
    auxiliary_head=dict(in_channels=24, channels=8, num_classes=5, norm_cfg=norm_cfg))
""",
    'segmenter': f"""
_base_ = '{SEG}/_base_/models/segmenter_vit-b16_mask.py'
default_scope = 'mmseg'
model = dict(
    pretrained=None, data_preprocessor=dict(size=(96, 96)),
    backbone=dict(img_size=(96, 96), embed_dims=24, num_layers=6, num_heads=3),
    decode_head=dict(in_channels=24, channels=24, embed_dims=24, num_heads=3, num_classes=5))
""",
    'mask_rcnn': f"""
_base_ = '{DET}/swin/mask-rcnn_swin-t-p4-w7_fpn_1x_coco.py'
train_dataloader = dict(dataset=dict(pipeline=[dict(type='Resize', scale=(128, 96), keep_ratio=True)]))
model = dict(
    backbone=dict(embed_dims=12, depths=(1, 1, 6, 1), num_heads=(1, 2, 2, 3), window_size=3, init_cfg=None),
    neck=dict(in_channels=[12, 24, 48, 96], out_channels=16),
    rpn_head=dict(in_channels=16, feat_channels=16),
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=16), mask_roi_extractor=dict(out_channels=16),
        bbox_head=dict(in_channels=16, fc_out_channels=16, num_classes=5),
        mask_head=dict(num_convs=1, in_channels=16, conv_out_channels=16, num_classes=5)),
    test_cfg=dict(rpn=dict(max_per_img=16)))
""",
}
TARGETS = {'upernet': 0.45, 'segmenter': 0.45, 'mask_rcnn': 0.25}


@pytest.fixture(params=CONFIGS)
def theirs(request, tmp_path):
    """The config's path, a checkpoint of random weights, the model, and the target that fits it."""
    path, checkpoint = tmp_path / 'theirs.py', tmp_path / 'theirs.pth'
    path.write_text(CONFIGS[request.param])
    model = build_model(load_config(str(path)))
    for parameter in model.parameters():
        parameter.data.add_(0.05 * torch.randn_like(parameter))
    torch.save({'state_dict': model.state_dict()}, checkpoint)
    return str(path), str(checkpoint), model, TARGETS[request.param]


@torch.no_grad()
def test_target_0_converts_and_predicts_the_same(theirs, tmp_path):
    path, checkpoint, model, _ = theirs
    compressed = compress_model(path, checkpoint, None, 0.)
    compressed.save(tmp_path / 'ours')
    ours, _ = load_trained(load_config(str(tmp_path / 'ours' / 'config.py')), str(tmp_path / 'ours' / 'model.pth'))
    assert type(ours.backbone).__name__.startswith('CAIT') and compressed.result()['reduction'] == 0
    for size in ((96, 128), (64, 96), (100, 75)):
        image = torch.randn(1, 3, *size)
        for one, other in zip(task_of(model).predict(image), task_of(ours).predict(image), strict=True):
            # masks are pooled from boxes that the model computes itself, which multiplies rounding
            assert torch.allclose(one, other, atol=1e-4 * max(1., float(one.abs().max())), rtol=1e-4)


def test_the_target_is_kept_and_the_folder_is_whole(theirs, tmp_path):
    path, checkpoint, _, target = theirs
    images = [torch.randn(2, 3, 96, 128), torch.randn(2, 3, 96, 128)]
    compressed = compress_model(path, checkpoint, images, target, pad_to=0)
    result = compressed.result()
    assert result['reduction'] == pytest.approx(target, abs=0.03) and result['calibration_images'] == 4
    compressed.save(tmp_path / 'small')
    small, _ = load_trained(load_config(str(tmp_path / 'small' / 'config.py')), str(tmp_path / 'small' / 'model.pth'))
    image = torch.randn(1, 3, *compressed.img_size)
    with torch.no_grad():
        wanted, given = (task_of(model).predict(image) for model in (compressed.small, small))
    assert all(torch.equal(*pair) for pair in zip(wanted, given, strict=True))
