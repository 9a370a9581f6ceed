"""How far a compressed model is from the dense one that it should answer like: predictions and maps, without labels."""
from collections.abc import Iterable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cait_mm.errors import UserError
from cait_mm.models import Classifier
from cait_mm.ops.token_merge import spread

MAPS = 0.3
"""The maps' error beside the predictions' KL in a loss."""
LEAST_SURE = 0.4
"""Below this mean highest probability the images are called unlike those that a classifier was trained on."""


def kl(student: Tensor, teacher: Tensor, dim: int = 1) -> Tensor:
    """Mean KL(teacher || student) in nats of the softmax over ``dim`` of two tensors of logits of one shape."""
    student, teacher = F.log_softmax(student.float(), dim), F.log_softmax(teacher.float(), dim)
    return (teacher.exp() * (teacher - student)).sum(dim).mean()


def binary_kl(student: Tensor, teacher: Tensor) -> Tensor:
    """KL(teacher || student) in nats of the sigmoid of every element of two tensors of logits of one shape."""
    student, teacher = student.float(), teacher.float()
    return (teacher.sigmoid() * (F.logsigmoid(teacher) - F.logsigmoid(student))
            + (-teacher).sigmoid() * (F.logsigmoid(-teacher) - F.logsigmoid(-student)))


def logits_kl(pairs: Iterable[tuple[Tensor, Tensor]]) -> Tensor:
    """Mean KL of pairs of a student's and a teacher's logits (B, classes, ...); one channel is a sigmoid's."""
    return torch.stack([binary_kl(*pair).mean() if pair[0].shape[1] == 1 else kl(*pair) for pair in pairs]).mean()


def map_error(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean squared error of two tensors of one shape, as a share of the teacher's variance."""
    return F.mse_loss(student.float(), teacher.float()) / teacher.float().var().clamp(min=1e-6)


def imitate_classifier(student: Classifier, teacher: Classifier, images: Tensor) -> tuple[Tensor, Tensor]:
    """The loss for a classifier, and the KL of its logits, which is watched.

    The loss is the KL and :data:`MAPS` of the error of the last tokens, restored to the teacher's grid, where both have
    as many channels.

    Args:
        student, teacher: Of the same classes.
        images: (B, C, H, W), normalised, on any device.
    """
    images = images.to(device_of(student))
    with torch.no_grad():
        wanted, grid = teacher.backbone.forward_tokens(images)
        wanted_logits = teacher.classify(wanted)
    tokens, own_grid = student.backbone.forward_tokens(images)
    distance = kl(student.classify(tokens), wanted_logits)
    if tokens.shape[-1] != wanted.shape[-1]:
        return distance, distance
    maps = [spread(x[:, x.shape[1] - own[0] * own[1]:], own, grid) for x, own in ((tokens, own_grid), (wanted, grid))]
    return distance + MAPS * map_error(*maps), distance


def require_same_classes(student: Classifier, teacher: Classifier) -> None:
    """Raises:
        UserError: They have other classes.
    """
    if student.num_classes != teacher.num_classes:
        raise UserError(f'the teacher has {teacher.num_classes} classes, the model to tune {student.num_classes}: the '
                        'teacher is the dense model that it was compressed from.')


@torch.no_grad()
def sureness(model: nn.Module, batches: Sequence[Tensor]) -> float:
    """The mean highest probability that a classifier gives to images (batches of (B, C, H, W)), 1 / classes to 1."""
    return float(torch.cat([model(batch.to(device_of(model))).float().softmax(1).amax(1) for batch in batches]).mean())


def unlike(model: Classifier, batches: Sequence[Tensor]) -> str | None:
    """A sentence where a classifier is unsure of images (batches of (B, C, H, W)), as it is of strange ones."""
    sure = sureness(model, batches)
    if sure >= LEAST_SURE:
        return None
    return (f'the dense model gives its best class of these images {sure:.0%} on average: they may be unlike those '
            'that it was trained on, and tuning on them may not help on others.')


def device_of(model: nn.Module) -> torch.device:
    """Where the weights of a model are."""
    return next(model.parameters()).device
