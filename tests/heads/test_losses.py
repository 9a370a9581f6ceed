"""Dice by class and the structure loss, against their formulas written out."""
import pytest
import torch
from torch.nn import functional

pytest.importorskip('mmseg')
from cait_mm.errors import UserError  # noqa: E402
from cait_mm.heads.losses import ClasswiseDiceLoss, StructureLoss  # noqa: E402


def test_dice_is_by_class_over_the_batch():
    logits, labels = torch.randn(2, 3, 8, 8), torch.randint(3, (2, 8, 8))
    chance, scores = logits.softmax(1), []
    for label in range(3):
        p, t = chance[:, label], (labels == label).float()
        scores.append(2 * (p * t).sum() / ((p * p).sum() + (t * t).sum()))
    loss = ClasswiseDiceLoss(loss_weight=0.7)(logits, labels)
    torch.testing.assert_close(loss, 0.7 * (1 - sum(scores) / 3), rtol=1e-4, atol=1e-5)


def test_a_small_class_weighs_as_much_as_the_background():
    labels = torch.zeros(1, 32, 32, dtype=torch.long)
    labels[0, :2, :2] = 1
    missed = torch.stack([torch.full((1, 32, 32), 20.), torch.full((1, 32, 32), -20.)], 1)
    from mmseg.models.losses import DiceLoss
    assert ClasswiseDiceLoss()(missed, labels) > 0.49
    assert DiceLoss(use_sigmoid=False)(missed, labels) < 0.01


@pytest.mark.parametrize('loss, channels', [
    (ClasswiseDiceLoss(), 3), (StructureLoss(), 1), (StructureLoss(entropy='weighted'), 1)])
def test_ignored_pixels_change_nothing(loss, channels):
    logits, labels = torch.randn(2, channels, 40, 40), torch.randint(2, (2, 40, 40))
    labels[:, 30:] = 255
    other = logits.clone()
    other[:, :, 30:] += 3
    torch.testing.assert_close(loss(logits, labels), loss(other, labels))
    assert torch.isfinite(loss(logits, torch.full_like(labels, 255)))


def written_out(logits, mask, entropy):
    """PraNet's function; ``entropy`` is ``binary_cross_entropy_with_logits`` with its or with another reduction."""
    weight = 1 + 5 * torch.abs(functional.avg_pool2d(mask, 31, 1, 15) - mask)
    entropy = (weight * entropy).sum((2, 3)) / weight.sum((2, 3))
    p = logits.sigmoid()
    inter, union = (p * mask * weight).sum((2, 3)), ((p + mask) * weight).sum((2, 3))
    return (entropy + 1 - (inter + 1) / (union - inter + 1)).mean()


@pytest.mark.filterwarnings('ignore:.*reduction=.*')
def test_structure_loss_is_pranets_code_or_its_paper():
    """Their ``reduce='none'`` is a mean: CASCADE's train_polyp.py (commit d3f050a), PraNet's MyTrain.py (95f12bd)."""
    logits, labels = torch.randn(2, 1, 48, 40), torch.randint(2, (2, 48, 40))
    mask, entropy = labels[:, None].float(), functional.binary_cross_entropy_with_logits
    code = written_out(logits, mask, entropy(logits, mask, reduce='none'))
    paper = written_out(logits, mask, entropy(logits, mask, reduction='none'))
    torch.testing.assert_close(StructureLoss()(logits, labels), code)
    torch.testing.assert_close(StructureLoss(entropy='weighted')(logits, labels), paper)
    assert abs(code - paper) > 1e-5
    with pytest.raises(UserError, match='use mean .* or weighted'):
        StructureLoss(entropy='none')
