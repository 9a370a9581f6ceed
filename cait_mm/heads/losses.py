"""The two losses of CASCADE that MMSegmentation lacks: Dice by class, and PraNet's structure loss."""
from typing import Any

from mmengine.registry import MODELS
from mmseg.models.losses import DiceLoss
from mmseg.models.losses.dice_loss import dice_loss
from torch import Tensor, nn
from torch.nn import functional

from cait_mm.errors import UserError


@MODELS.register_module()
class ClasswiseDiceLoss(DiceLoss):
    """One minus the Dice of each class over the whole batch, averaged over the classes (TransUNet, CASCADE).

    :class:`mmseg.models.losses.DiceLoss` takes one Dice over all classes of an image together, in which a background of
    nine tenths hides a small organ. The formula is the same, with squares in the denominator.

    Args:
        loss_weight: A factor.
        eps: Added to the denominator.
        loss_name: Name in the log.
    """

    def __init__(self, loss_weight: float = 1.0, eps: float = 1e-5, loss_name: str = 'loss_dice') -> None:
        super().__init__(use_sigmoid=False, loss_weight=loss_weight, eps=eps, loss_name=loss_name)

    def forward(self, pred: Tensor, target: Tensor, weight: Tensor | None = None, ignore_index: int = 255,
                **keywords: Any) -> Tensor:
        """Logits (B, K, H, W) and labels (B, H, W) -> a scalar; pixels of ``ignore_index`` are not counted."""
        known = (target != ignore_index)[:, None]
        labels = functional.one_hot(target.where(known[:, 0], 0), pred.shape[1]).permute(0, 3, 1, 2)
        # MMSeg's function takes a Dice per row of its first axis: here a class
        return self.loss_weight * dice_loss(
            (pred.softmax(1) * known).transpose(0, 1), (labels * known).transpose(0, 1), None, eps=self.eps,
            ignore_index=None)


@MODELS.register_module()
class StructureLoss(nn.Module):
    """Binary cross entropy plus an IoU whose pixels weigh one to six times more near edges (F3Net, PraNet, CASCADE).

    The weight of a pixel is ``1 + 5 |mean of the 31x31 pixels around it - its label|``. The papers weight the cross
    entropy too. Their code does not: ``binary_cross_entropy_with_logits(reduce='none')`` takes the string as a true
    value of an old argument and returns the mean, which the weights leave unchanged (PraNet's MyTrain.py, CASCADE's
    train_polyp.py). Their published models were trained that way.

    Args:
        loss_weight: A factor.
        loss_name: Name in the log.
        entropy: ``mean``, the cross entropy over the batch as in the authors' code, or ``weighted`` as in their papers.

    Raises:
        UserError: ``entropy`` is neither.
    """

    def __init__(self, loss_weight: float = 1.0, loss_name: str = 'loss_structure', entropy: str = 'mean') -> None:
        super().__init__()
        if entropy not in ('mean', 'weighted'):
            raise UserError(f'StructureLoss entropy={entropy!r}: use mean (their code) or weighted (their papers).')
        self.entropy, self.loss_weight, self.loss_name = entropy, loss_weight, loss_name

    def forward(self, pred: Tensor, target: Tensor, weight: Tensor | None = None, ignore_index: int = 255,
                **keywords: Any) -> Tensor:
        """Logits (B, 1, H, W) and labels (B, H, W), 0 or 1 -> a scalar; pixels of ``ignore_index`` are not counted."""
        known = (target != ignore_index)[:, None].to(pred.dtype)
        label = (target == 1)[:, None].to(pred.dtype)
        near = functional.avg_pool2d(label, 31, stride=1, padding=15)
        weights = known * (1 + 5 * (near - label).abs())
        entropy = functional.binary_cross_entropy_with_logits(pred, label, reduction='none')
        if self.entropy == 'mean':
            entropy = (known * entropy).sum() / known.sum().clamp(min=1)
        else:
            entropy = (weights * entropy).sum((2, 3)) / weights.sum((2, 3)).clamp(min=1)
        chance = pred.sigmoid()
        both = (chance * label * weights).sum((2, 3))
        either = ((chance + label) * weights).sum((2, 3)) - both
        return self.loss_weight * (entropy + 1 - (both + 1) / (either + 1)).mean()
