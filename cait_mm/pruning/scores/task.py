"""The task's loss for scores that differentiate one, with labels or without.

Without labels the targets are the dense model's own hard predictions: the KL from a model to itself has no gradient,
the cross-entropy with its arg-max has, wherever it is not quite sure.
"""
from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cait_mm.errors import UserError
from cait_mm.models import Classifier
from cait_mm.pruning.imitate import device_of, logits_of, with_maps

Batch = tuple[Tensor, list[Tensor]]
"""Images (B, C, H, W), and targets (B, ...) for each tensor of logits (B, classes, ...) that the model gives."""


def labelled(dense: nn.Module, images: Iterable[Tensor | tuple[Tensor, Tensor]]) -> list[Batch]:
    """Batches with the labels that come with them, or with the predictions of ``dense``.

    Args:
        dense: The model before anything is merged or cut.
        images: Batches (B, C, H, W), alone or with labels (B, ...).

    Raises:
        UserError: The model gives no logits, or the labels do not fit.
    """
    batches: list[Batch] = []
    for batch in images:
        batch, given = batch if isinstance(batch, tuple) else (batch, None)
        try:
            logits = logits_of(dense, batch)
        except UserError as error:
            raise UserError(f'`score`: {error}: use calibrated or magnitude, which need no loss.') from error
        if given is None:
            batches.append((batch, [_decided(part) for part in logits]))
            continue
        like = logits[0]
        if given.shape != (len(batch), *like.shape[2:]) or not 0 <= given.min() <= given.max() < like.shape[1]:
            raise UserError(f'the labels {tuple(given.shape)} of {len(batch)} images are no classes of a model that '
                            f'gives logits {tuple(like.shape)}.')
        batches.append((batch, [given.to(like.device)]))
    return batches


def _decided(logits: Tensor) -> Tensor:
    return (logits > 0).to(logits) if logits.shape[1] == 1 else logits.argmax(1)


def answers(model: nn.Module, images: Tensor) -> tuple[list[Tensor], Tensor]:
    """The logits (B, classes, ...) of a model, differentiable, and the vector (B, C) that stands for each image.

    The vector is what a classifier's head reads: the normalised CLS, or the mean token where there is none. Of other
    models it is the mean of the backbone's last map.
    """
    images = images.to(device_of(model))
    if isinstance(model, Classifier):
        tokens, _ = model.backbone.forward_tokens(images)
        return [model.classify(tokens)], model.backbone.pool(tokens)
    logits, maps = with_maps(model, images)
    return [logits] if isinstance(logits, Tensor) else list(logits), maps[-1].mean((2, 3))


def task_loss(logits: list[Tensor], targets: list[Tensor]) -> Tensor:
    """The mean cross-entropy of logits (B, classes, ...) with targets; one class is a sigmoid's."""
    return torch.stack([
        F.binary_cross_entropy_with_logits(part, target) if part.shape[1] == 1 else F.cross_entropy(part, target)
        for part, target in zip(logits, targets)]).mean()
