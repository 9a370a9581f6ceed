"""CASCADE's decoder: shapes, gradients, the sum of its four predictions, and the results of its parts."""
import pytest
import torch
from mmengine.registry import DefaultScope
from mmengine.structures import PixelData
from torch.nn import functional

pytest.importorskip('mmseg')
from mmseg.registry import MODELS  # noqa: E402
from mmseg.structures import SegDataSample  # noqa: E402

from cait_mm.errors import UserError  # noqa: E402
from cait_mm.heads.cascade import CascadeHead  # noqa: E402

NORM = dict(type='BN', requires_grad=True)
LOSSES = [dict(type='CrossEntropyLoss', loss_weight=0.3),
          dict(type='cait_mm.heads.losses.ClasswiseDiceLoss', loss_weight=0.7)]
SWIN, EQUAL = [8, 16, 32, 64], [12] * 4
META = [dict(img_shape=(64, 96), pad_shape=(64, 96), ori_shape=(64, 96))] * 2


@pytest.fixture(autouse=True)
def _no_scope(monkeypatch):
    """Whatever config a test before these has read."""
    monkeypatch.setattr(DefaultScope, '_instance_dict', {})


def head(**keywords) -> CascadeHead:
    return MODELS.build({**dict(type='CascadeHead', in_channels=SWIN, num_classes=4, norm_cfg=NORM,
                                loss_decode=LOSSES), **keywords})


def maps(channels=SWIN, sizes=((16, 24), (8, 12), (4, 6), (2, 3))):
    return [torch.randn(2, width, *size) for width, size in zip(channels, sizes)]


def samples(classes: int = 4):
    return [SegDataSample(gt_sem_seg=PixelData(data=torch.randint(classes, (1, 64, 96)))) for _ in range(2)]


@pytest.mark.parametrize('channels, widths', [(SWIN, None), (EQUAL, None), (EQUAL, [4, 8, 12, 20])])
def test_every_scale_predicts_and_gradients_reach_every_weight(channels, widths):
    built = head(in_channels=channels, widths=widths)
    inputs = [item.requires_grad_() for item in maps(channels)]
    logits = built(inputs)
    assert [tuple(item.shape) for item in logits] == [(2, 4, 16, 24), (2, 4, 8, 12), (2, 4, 4, 6), (2, 4, 2, 3)]
    losses = built.loss_by_feat(logits, samples())
    assert set(losses) == {'loss_ce', 'loss_dice', 'acc_seg'}
    total = losses['loss_ce'] + losses['loss_dice']
    total.backward()
    assert torch.isfinite(total)
    assert [name for name, weight in built.named_parameters() if weight.grad is None] == []
    assert all(weight.grad.abs().sum() > 0 for name, weight in built.named_parameters() if name.endswith('seg.weight'))
    assert all(item.grad.abs().sum() > 0 for item in inputs)


@pytest.mark.parametrize('sizes', [((57, 86), (29, 43), (15, 22), (8, 11)), ((55, 55), (28, 28), (14, 14), (7, 7))])
def test_odd_maps_keep_their_sizes(sizes):
    with torch.no_grad():
        assert [tuple(item.shape[2:]) for item in head().eval()(maps(sizes=sizes))] == list(sizes)


def test_prediction_is_the_sum_of_the_four_at_the_images_size():
    built, inputs = head().eval(), maps()
    with torch.no_grad():
        decoded = built.decode(inputs)
        layers = [built.conv_seg, *built.coarse_seg]
        expected = sum(functional.interpolate(layer(x), (64, 96), mode='bilinear', align_corners=False)
                       for layer, x in zip(layers, decoded))
        torch.testing.assert_close(built.predict(inputs, META, {}), expected)


def test_losses_are_the_sum_over_the_four_predictions():
    built, truth = head().eval(), samples()
    labels = torch.cat([sample.gt_sem_seg.data for sample in truth])
    with torch.no_grad():
        logits = built(maps())
        whole = [functional.interpolate(item, (64, 96), mode='bilinear', align_corners=False) for item in logits]
        losses = built.loss_by_feat(logits, truth)
    torch.testing.assert_close(losses['loss_ce'], 0.3 * sum(functional.cross_entropy(item, labels) for item in whole))


def test_one_step_is_gate_attention_and_convolutions_in_cascades_order():
    """The finest step, written out with the head's weights and nothing of its code."""
    built, inputs = head().eval(), maps()
    with torch.no_grad():
        decoded = built.decode(inputs)
        up = built.up[0](decoded[1].repeat_interleave(2, 2).repeat_interleave(2, 3))
        gate = built.gate[0]
        weight = gate.weight(torch.relu(gate.from_decoder(up) + gate.from_skip(inputs[0])))
        x = torch.cat([inputs[0] * weight, up], 1)
        squeeze = built.channel_attention[0].mlp
        x = x * torch.sigmoid(sum(squeeze(pool(x, 1))
                                  for pool in (functional.adaptive_avg_pool2d, functional.adaptive_max_pool2d)))
        seen = torch.cat([x.mean(1, keepdim=True), x.max(1, keepdim=True).values], 1)
        x = x * torch.sigmoid(built.spatial_attention.conv(seen))
        torch.testing.assert_close(decoded[0], built.blocks[0](x))


def test_weights_at_cascades_own_widths_add_up():
    """By hand, for PVTv2's widths and one class: convolutions, norms, gates, attention, predictions."""
    a, b, c, d = widths = [64, 128, 320, 512]

    def conv(before, after, kernel=3):  # without bias, with its norm
        return before * after * kernel**2 + 2 * after

    def gate(width, hidden):
        return 2 * conv(width, hidden, 1) + conv(hidden, 1, 1)

    def attend(width):
        return 2 * width * (width // 16)

    expected = d * d + d  # the 1x1 convolution on the coarsest map
    expected += conv(d, c) + conv(c, b) + conv(b, a) + gate(c, b) + gate(b, a) + gate(a, 32)
    expected += attend(d) + attend(2 * c) + attend(2 * b) + attend(2 * a) + 2 * 49
    expected += 2 * conv(d, d) + sum(conv(2 * width, width) + conv(width, width) for width in (a, b, c))
    expected += sum(width + 1 for width in widths)
    built = head(in_channels=widths, num_classes=2, out_channels=1, threshold=0.5, loss_decode=[
        dict(type='cait_mm.heads.losses.StructureLoss')])
    assert sum(weight.numel() for weight in built.parameters()) == expected


def test_one_foreground_class_learns_and_has_no_accuracy_of_an_arg_max():
    built = head(num_classes=2, out_channels=1, threshold=0.5, loss_decode=[
        dict(type='cait_mm.heads.losses.StructureLoss')])
    losses = built.loss_by_feat(built(maps()), samples(2))
    assert set(losses) == {'loss_structure'} and torch.isfinite(losses['loss_structure'])


@pytest.mark.parametrize('wrong', [dict(in_channels=[8, 16, 32]), dict(widths=[8, 16])])
def test_other_than_four_scales_is_a_sentence(wrong):
    with pytest.raises(UserError, match='give four of each'):
        CascadeHead(**{**dict(in_channels=SWIN, num_classes=4), **wrong})
