"""A small classifier in double precision and what a slow transcription needs: copies with one thing scaled."""
from collections.abc import Callable
from copy import deepcopy

import torch
import torch.nn.functional as F
from conftest import plain_classifier
from torch import Tensor, nn

from cait_mm.models import Classifier, classifier_backbone
from cait_mm.pruning.scores.task import Batch, labelled
from cait_mm.spec import make_spec

STEP = 1e-4
HEADS, WIDTH = 3, 8
GATED = dict(embed_dim=24, depth=3, num_heads=HEADS, img_size=(64, 64), ffn='swiglu', init_values=0.5)


def classifier(family: str = 'deit', **options) -> Classifier:
    """With merges and random weights; ``vit`` is one with gated FFNs and layer scale."""
    if family == 'vit':
        model = Classifier(classifier_backbone(make_spec(GATED, ((1, 'horizontal'),), family='vit')), 5)
    else:
        model = plain_classifier(family, **options)
    for name, value in model.named_parameters():
        if 'norm' not in name:
            nn.init.normal_(value, std=0.2)
    return model.double().eval()


def batches_of(model: Classifier, count: int = 2) -> list[Batch]:
    return labelled(model, [torch.randn(3, 3, 64, 64).double() for _ in range(count)])


@torch.no_grad()
def loss_of(model: Classifier, batch: Batch) -> float:
    return float(F.cross_entropy(model(batch[0]), batch[1][0]))


@torch.no_grad()
def scaled(model: Classifier, block: int, part: str, rows: list[int] | slice, factor: float) -> Classifier:
    """A copy whose block has some output channels of ``qkv`` or ``fc1`` multiplied by a factor."""
    copy = deepcopy(model)
    block = copy.backbone.flat_blocks()[block]
    layer = block.attn.qkv if part == 'qkv' else block.mlp.fc1
    layer.weight[rows] *= factor
    if layer.bias is not None:
        layer.bias[rows] *= factor
    return copy


def slope(change: Callable[[float], Classifier], value: Callable[[Classifier], float] | Batch) -> float:
    """The derivative of a loss by a factor at 1, from both sides."""
    loss = value if callable(value) else lambda model: loss_of(model, value)
    return (loss(change(1 + STEP)) - loss(change(1 - STEP))) / (2 * STEP)


def row(part: str, head: int, channel: int, heads: int = HEADS, width: int = WIDTH) -> int:
    """Where a channel of q, k or v stands among the outputs of qkv."""
    return ('qkv'.index(part) * heads + head) * width + channel


def close(actual: float | Tensor, wanted: float, tolerance: float = 1e-5) -> bool:
    return abs(float(actual) - wanted) <= tolerance * abs(wanted) + 1e-12
