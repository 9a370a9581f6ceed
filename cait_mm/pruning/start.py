"""The start of a run: compactors behind every block, at identity or ordered by the channels' contributions."""
from copy import deepcopy
from typing import Any

import torch
from torch.nn.utils import parametrize

from cait_mm.errors import UserError
from cait_mm.models import Backbone, Classifier
from cait_mm.ops.compactor import add_backbone_compactors, without_compactor
from cait_mm.pruning.calibrate import add_calibrated_compactors, calibrate
from cait_mm.utils.images import as_batches


def backbone_of(model: Classifier | Backbone) -> Backbone:
    """The part of ``model`` that is pruned: a classifier's backbone, or itself.

    Raises:
        UserError: It is something else.
    """
    backbone = model.backbone if isinstance(model, Classifier) else model
    if not isinstance(backbone, Backbone):
        raise UserError(f'`model` is a {type(model).__name__}: give a classifier of cait_mm.load, or its backbone, '
                        'before it is wrapped in DistributedDataParallel.')
    return backbone


def has_compactors(backbone: Backbone) -> bool:
    """Whether compactors stand behind the blocks of ``backbone``."""
    return all(parametrize.is_parametrized(layer, 'weight')
               for block in backbone.flat_blocks() for layer in (block.attn.qkv, block.mlp.fc1))


def ensure_compactors(backbone: Backbone) -> None:
    """Put compactors, at identity, behind every block that has none.

    Raises:
        UserError: The backbone is pruned already.
    """
    if has_compactors(backbone):
        return
    if backbone.spec.is_pruned:
        raise UserError('`model` is pruned already: start from the dense one, or fine-tune it without CDCP.')
    add_backbone_compactors(backbone)


@torch.no_grad()
def calibrate_compactors(backbone: Backbone, images: Any, num_images: int) -> None:
    """Order the channels of a backbone with compactors by their contribution; its outputs stay the same.

    Args:
        backbone: Full widths.
        images, num_images: Images, and how many of them to use; see :func:`~cait_mm.utils.images.as_batches`.

    Raises:
        UserError: The images cannot be used.
    """
    plain = deepcopy(backbone)
    for block in plain.flat_blocks():
        block.attn.qkv, block.mlp.fc1 = without_compactor(block.attn.qkv), without_compactor(block.mlp.fc1)
    add_calibrated_compactors(plain, calibrate(plain, as_batches(images, backbone.img_size, num_images)))
    backbone.load_state_dict(plain.state_dict())
