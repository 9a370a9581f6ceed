"""How far the predictions of a whole segmentor or detector are from those of its teacher."""
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn

from cait_mm.errors import UserError
from cait_mm.pruning.imitate import binary_kl, kl, logits_kl

Distance = Callable[[nn.Module, nn.Module, Any, Any, Sequence[Any]], dict[str, Tensor]]
"""Student, teacher, the maps that each one's heads see, and the data samples -> losses by name."""


def distance_of(student: nn.Module, teacher: nn.Module) -> Distance:
    """The distance for a kind of model.

    Raises:
        UserError: There is none for this one.
    """
    head = getattr(teacher, 'decode_head', None)
    if type(student) is type(teacher) and isinstance(head, nn.Module):
        return queries if hasattr(head, 'query_embed') else pixels
    roi = getattr(teacher, 'roi_head', None)
    if type(student) is type(teacher) and hasattr(teacher, 'rpn_head') and type(roi).__name__ == 'StandardRoIHead':
        return regions
    raise UserError(f'a {type(student).__name__} cannot be tuned to a {type(teacher).__name__} without labels: '
                    'EncoderDecoder (one decode head) and MaskRCNN or FasterRCNN (one stage of boxes) can.')


def pixels(student: nn.Module, teacher: nn.Module, maps: Any, wanted_maps: Any,
           samples: Sequence[Any]) -> dict[str, Tensor]:
    """Per-pixel KL of a decode head's logits (B, classes, h, w), the mean of them where it predicts several times."""
    with torch.no_grad():
        wanted = teacher.decode_head(wanted_maps)
    found = student.decode_head(maps)
    return dict(loss_kl=logits_kl([(found, wanted)] if isinstance(found, Tensor) else zip(found, wanted)))


def queries(student: nn.Module, teacher: nn.Module, maps: Any, wanted_maps: Any,
            samples: Sequence[Any]) -> dict[str, Tensor]:
    """KL of classes and masks of Mask2Former's queries after the last layer, each matched to one of the teacher's.

    Masks count by the teacher's certainty that the query sees something.
    """
    with torch.no_grad():
        wanted_classes, wanted_masks = (layers[-1].float() for layers in teacher.decode_head(wanted_maps, samples))
    classes, masks = (layers[-1].float() for layers in student.decode_head(maps, samples))
    matched = [match(*both) for both in zip(classes, masks, wanted_classes, wanted_masks)]
    classes, masks = (torch.stack([part[index] for part, index in zip(parts, matched)]) for parts in (classes, masks))
    something = 1 - wanted_classes.softmax(-1)[..., -1]
    shape = (binary_kl(masks, wanted_masks).mean((-2, -1)) * something).sum() / something.sum().clamp(min=1)
    return dict(loss_classes=kl(classes, wanted_classes, -1), loss_masks=shape)


@torch.no_grad()
def match(classes: Tensor, masks: Tensor, wanted_classes: Tensor, wanted_masks: Tensor) -> Tensor:
    """For every query of the teacher the student's that is nearest, one to one: by classes (Q, C + 1) and by the Dice
    of masks (Q, h, w), all logits.
    """
    cost = -wanted_classes.softmax(-1) @ classes.log_softmax(-1).T
    ours, theirs = masks.sigmoid().flatten(1), wanted_masks.sigmoid().flatten(1)
    cost = cost + 1 - 2 * theirs @ ours.T / (theirs.sum(1)[:, None] + ours.sum(1)[None]).clamp(min=1e-6)
    return torch.as_tensor(linear_sum_assignment(cost.cpu().numpy())[1], device=classes.device)


def regions(student: nn.Module, teacher: nn.Module, maps: Any, wanted_maps: Any,
            samples: Sequence[Any]) -> dict[str, Tensor]:
    """KL of the proposals' objectness, and on the teacher's proposals that of classes and masks; boxes by L1.

    What is said of an anchor, box or mask counts by the teacher's certainty that something is there.
    """
    with torch.no_grad():
        scores, deltas = teacher.rpn_head(wanted_maps)
        rois = proposals(teacher, wanted_maps, samples)
        wanted = teacher.roi_head._bbox_forward(wanted_maps, rois)
    own_scores, own_deltas = student.rpn_head(maps)
    found = student.roi_head._bbox_forward(maps, rois)
    there = [score.float().sigmoid() for score in scores]
    total = sum(part.sum() for part in there).clamp(min=1)
    losses = dict(
        loss_rpn_kl=sum(binary_kl(*pair).sum() for pair in zip(own_scores, scores)) / total,
        loss_rpn_boxes=sum(certain_error(*parts) for parts in zip(own_deltas, deltas, there)) / total,
        loss_kl=kl(found['cls_score'], wanted['cls_score']))
    certain = wanted['cls_score'].float().softmax(1)[:, :-1]
    weight, width = certain.sum().clamp(min=1), wanted['bbox_pred'].shape[1] // 4
    error = F.smooth_l1_loss(found['bbox_pred'].float(), wanted['bbox_pred'].float(), reduction='none')
    by_class = error.view(len(rois), width, 4).sum(-1)
    losses['loss_boxes'] = (by_class * (certain if width > 1 else certain.sum(1, keepdim=True))).sum() / weight
    if teacher.roi_head.with_mask:
        losses['loss_masks'] = masks_of(student, teacher, maps, wanted_maps, rois, certain)
    return losses


def certain_error(own: Tensor, wanted: Tensor, there: Tensor) -> Tensor:
    """L1 of RPN's deltas (B, A * 4, h, w), weighted by the teacher's objectness (B, A, h, w), as a sum."""
    error = F.smooth_l1_loss(own.float(), wanted.float(), reduction='none')
    return (error.unflatten(1, (-1, 4)).sum(2) * there).sum()


@torch.no_grad()
def proposals(teacher: nn.Module, maps: Any, samples: Sequence[Any], most: int = 128) -> Tensor:
    """The teacher's best proposals of every image as RoIs (n, 5), the image's number first."""
    found = teacher.rpn_head.predict(maps, samples, rescale=False)
    boxes = [getattr(result.bboxes, 'tensor', result.bboxes)[:most] for result in found]
    return torch.cat([torch.cat([box.new_full((len(box), 1), number), box], 1) for number, box in enumerate(boxes)])


def masks_of(student: nn.Module, teacher: nn.Module, maps: Any, wanted_maps: Any, rois: Tensor, certain: Tensor,
             most: int = 32) -> Tensor:
    """KL of the masks of the RoIs (n, 5) that the teacher is surest of, of the class that it sees, weighted by that;
    ``certain`` are its classes' probabilities (n, classes)."""
    weight, label = certain.max(1)
    best = weight.topk(min(most, len(weight))).indices
    with torch.no_grad():
        wanted = teacher.roi_head._mask_forward(wanted_maps, rois[best])['mask_preds']
    found = student.roi_head._mask_forward(maps, rois[best])['mask_preds']
    each, channel = torch.arange(len(best), device=rois.device), label[best] if wanted.shape[1] > 1 else 0 * label[best]
    error = binary_kl(found[each, channel], wanted[each, channel]).mean((-2, -1))
    return (error * weight[best]).sum() / weight[best].sum().clamp(min=1)
