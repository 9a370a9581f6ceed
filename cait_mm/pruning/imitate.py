"""How far a compressed model is from the dense one that it should answer like: predictions and maps, without labels."""
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cait_mm.errors import UserError, reason_of, shown
from cait_mm.models import Backbone, Classifier
from cait_mm.models.base import backbone_inside
from cait_mm.ops.token_merge import spread

MAPS = 0.3
"""The maps' error beside the predictions' KL in a loss."""
LEAST_SURE = 0.23
"""Below this mean highest probability the images are called unlike those that a classifier was trained on.

DeiT-Tiny gives ImageNet's photographs 0.66, those of 64 pixels 0.32 (0.26 or more in each of 20 classes), COCO's 0.46,
polyps 0.21, street scenes 0.17, noise below 0.02.
"""

_OTHER_WAY = ('give tune=0 and train the model further, or tune it from its config and checkpoint with '
              'python tools/compress.py CONFIG CHECKPOINT FOLDER --tune N')


def kl(student: Tensor, teacher: Tensor, dim: int = 1) -> Tensor:
    """Mean KL(teacher || student) in nats of the softmax over ``dim`` of two tensors of logits of one shape."""
    student, teacher = F.log_softmax(student.float(), dim), F.log_softmax(teacher.float(), dim)
    return (teacher.exp() * (teacher - student)).sum(dim).mean()


def binary_kl(student: Tensor, teacher: Tensor) -> Tensor:
    """KL(teacher || student) in nats of the sigmoid of every element of two tensors of logits of one shape."""
    student, teacher = student.float(), teacher.float()
    return (teacher.sigmoid() * (F.logsigmoid(teacher) - F.logsigmoid(student))
            + (-teacher).sigmoid() * (F.logsigmoid(-teacher) - F.logsigmoid(-student)))


def kl_of_all(student: Any, teacher: Any) -> Tensor:
    """The mean KL of a tensor of logits (B, classes, ...), or of several; one class is a sigmoid's."""
    pairs = [(student, teacher)] if isinstance(teacher, Tensor) else list(zip(student, teacher))
    return torch.stack([binary_kl(*pair).mean() if pair[0].shape[1] == 1 else kl(*pair) for pair in pairs]).mean()


def map_error(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean squared error of two tensors of one shape, as a share of the teacher's variance."""
    return F.mse_loss(student.float(), teacher.float()) / teacher.float().var().clamp(min=1e-6)


def maps_error(student: Sequence[Tensor], teacher: Sequence[Tensor]) -> Tensor:
    """The mean :func:`map_error` of as many maps."""
    return torch.stack([map_error(*pair) for pair in zip(student, teacher)]).mean()


def imitate_classifier(student: Classifier, teacher: Classifier, images: Tensor) -> tuple[Tensor, Tensor]:
    """The loss for a classifier, and the KL of its logits, which is watched.

    The loss is the KL and :data:`MAPS` of the error of the last tokens, restored to the teacher's grid, where both lie
    on a grid and have as many channels; with the losses of a token reducer, if it has any.

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
    backbone = student.backbone
    own = backbone.spec.reducer.losses(backbone.tokens).values() if backbone.spec.tokens and student.training else ()
    if backbone.spec.tokens or tokens.shape[-1] != wanted.shape[-1]:
        return distance + sum(own), distance
    maps = [spread(x[:, x.shape[1] - own[0] * own[1]:], own, grid) for x, own in ((tokens, own_grid), (wanted, grid))]
    return distance + MAPS * map_error(*maps), distance


def imitate_module(student: nn.Module, teacher: nn.Module, images: Tensor) -> tuple[Tensor, Tensor]:
    """The loss for any module with :func:`logits_of` images, and the KL of these logits, which is watched.

    The loss is the KL and :data:`MAPS` of the error of the maps that the backbones return.

    Args:
        student, teacher: Of one kind.
        images: (B, C, H, W), normalised, on any device.
    """
    images = images.to(device_of(student))
    with torch.no_grad():
        wanted, wanted_maps = with_maps(teacher, images)
    logits, maps = with_maps(student, images)
    distance = kl_of_all(logits, wanted)
    return distance + MAPS * maps_error(maps, wanted_maps), distance


def with_maps(model: nn.Module, images: Tensor) -> tuple[Any, list[Tensor]]:
    """The outputs of a module for images, and the maps that its backbone has returned meanwhile."""
    maps: list[Tensor] = []

    def keep(*call: Any) -> None:
        maps.extend([call[-1]] if isinstance(call[-1], Tensor) else call[-1])

    handle = backbone_inside(model).register_forward_hook(keep)
    try:
        return model(images), maps
    finally:
        handle.remove()


@torch.no_grad()
def logits_of(model: nn.Module, images: Tensor) -> list[Tensor]:
    """The logits (B, classes, ...) that ``model(images)`` gives, one tensor or several.

    Raises:
        UserError: It gives something else, as a backbone does, or cannot be called with images alone.
    """
    name = type(model).__name__
    try:
        outputs = model(images.to(device_of(model)))
    except Exception as error:  # whatever a module may raise that wants more than images
        raise UserError(f'{name} cannot be called with images alone ({reason_of(error)})') from error
    logits = [outputs] if isinstance(outputs, Tensor) else outputs
    if isinstance(model, Backbone) or not isinstance(logits, (list, tuple)) or not logits or not all(
            isinstance(part, Tensor) and part.dim() > 1 for part in logits):
        raise UserError(f'{name} gives {shown(outputs)} and no logits (B, classes, ...)')
    return list(logits)


def require_logits(model: nn.Module, images: Tensor) -> None:
    """Raises:
        UserError: A model that is to be tuned has no :func:`logits_of` images.
    """
    try:
        logits_of(model, images)
    except UserError as error:
        raise UserError(f'`tune`: {error}: {_OTHER_WAY}.') from error


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
