"""Mask2Former under autocast, where the stock head is not finite, and in sliding windows, where it fails."""
import pytest
import torch
from conftest import ROOT
from mmengine.structures import InstanceData, PixelData
from mmseg.models.decode_heads import Mask2FormerHead
from mmseg.structures import SegDataSample

from cait_mm.config.load import load_config
from cait_mm.tasks import build_model

SIZE, CLASSES = (64, 64), 11


@pytest.fixture(scope='module')
def model():
    config = load_config(str(ROOT / 'configs/small/mask2former_cait_deit_t_camvid.py'))
    config.model.data_preprocessor.size = config.model.backbone.img_size = SIZE
    config.model.backbone.pop('init_cfg')
    torch.manual_seed(0)
    return build_model(config).train()


def batch():
    generator = torch.Generator().manual_seed(1)
    labels = torch.randint(CLASSES, (1, 4, 4), generator=generator).repeat_interleave(16, 1).repeat_interleave(16, 2)
    sample = SegDataSample(gt_sem_seg=PixelData(data=labels), metainfo=dict(
        img_shape=SIZE, ori_shape=SIZE, pad_shape=SIZE))
    picture = torch.randint(256, (3, *SIZE), dtype=torch.uint8, generator=generator)
    return dict(inputs=[picture, picture.flip(-1)], data_samples=[sample, sample])


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_losses_and_gradients_are_finite_and_close_to_those_of_fp32(model, dtype):
    totals = {}
    for name in (torch.float32, dtype):
        torch.manual_seed(2)  # the points that are sampled
        model.zero_grad()
        with torch.autocast('cpu', dtype, enabled=name == dtype):
            losses = model(**model.data_preprocessor(batch(), True), mode='loss')
            total, _ = model.parse_losses(losses)
        total.backward()
        grads = [value.grad for value in model.parameters() if value.grad is not None]
        assert all(torch.isfinite(grad).all() for grad in grads)
        totals[name] = total.item()
    assert totals[dtype] == pytest.approx(totals[torch.float32], rel=0.02)


def test_the_pixel_decoder_stays_in_fp32_while_the_backbone_does_not(model):
    images = torch.rand(1, 3, *SIZE)
    with torch.autocast('cpu', torch.bfloat16), torch.no_grad():
        features = model.extract_feat(images)
        masks, maps = model.decode_head.pixel_decoder(features)
    assert features[1].dtype == torch.bfloat16
    assert masks.dtype == torch.float32 and all(item.dtype == torch.float32 for item in maps)


def sure_and_wrong(dtype):
    """Inputs of the losses, with masks that are certain (logits of -30) and miss everything."""
    targets = InstanceData(labels=torch.arange(4), masks=torch.eye(4).view(4, 2, 2).repeat_interleave(
        32, 1).repeat_interleave(32, 2).long())
    masks = [torch.full((1, 40, 16, 16), -30., dtype=dtype)] * 4
    return [torch.zeros(1, 40, CLASSES + 1, dtype=dtype)] * 4, masks, [targets], [dict(img_shape=SIZE)]


def test_matching_does_not_overflow_where_the_stock_head_does(model, monkeypatch):
    head = model.decode_head
    monkeypatch.setattr(head, 'num_points', 12544)  # the recipe's: the sum is over as many
    exact = sum(head.loss_by_feat(*sure_and_wrong(torch.float32)).values())
    with torch.autocast('cpu', torch.float16):
        mixed = sum(head.loss_by_feat(*sure_and_wrong(torch.float16)).values())
        with pytest.raises(ValueError, match='infeasible'):
            Mask2FormerHead.loss_by_feat(head, *sure_and_wrong(torch.float16))
    assert mixed.item() == pytest.approx(exact.item(), rel=0.02)


@pytest.fixture
def sliding(model):
    model.eval()
    whole = dict(model.test_cfg)
    yield model
    model.test_cfg.clear()
    model.test_cfg.update(whole)
    model.train()


def metas(height, width, count=1):
    return [dict(img_shape=(height, width), ori_shape=(height, width), pad_shape=(height, width), img_path=str(index))
            for index in range(count)]


@torch.no_grad()
def test_one_window_as_large_as_the_image_is_the_whole_image(sliding):
    images = torch.rand(2, 3, *SIZE)
    whole = sliding.inference(images, metas(*SIZE, 2))
    sliding.test_cfg.update(mode='slide', crop_size=SIZE, stride=SIZE)
    torch.testing.assert_close(sliding.inference(images, metas(*SIZE, 2)), whole)


@pytest.mark.parametrize('height,width', [(64, 96), (80, 100)])
@torch.no_grad()
def test_windows_are_averaged_where_they_overlap(sliding, height, width):
    images = torch.rand(1, 3, height, width)
    total, count = torch.zeros(1, CLASSES, height, width), torch.zeros(1, 1, height, width)
    for top in {0, height - 64}:
        for left in {0, width - 64}:
            window = (..., slice(top, top + 64), slice(left, left + 64))
            total[window] += sliding.inference(images[window], metas(*SIZE))
            count[window] += 1
    sliding.test_cfg.update(mode='slide', crop_size=SIZE, stride=(40, 40))
    torch.testing.assert_close(sliding.inference(images, metas(height, width)), total / count)
