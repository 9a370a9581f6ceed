"""The masks that the compactors of a backbone hold: which channels are on their way to zero."""
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from cait_mm.macs import reduction
from cait_mm.models import Backbone
from cait_mm.ops.compactor import Compactor, block_compactors
from cait_mm.pruning.selection import BlockChannels, pruned_spec


def compactors_of(backbone: Backbone) -> Iterator[Compactor]:
    """Every compactor, block by block: qkv, then FFN."""
    for block in backbone.flat_blocks():
        yield from block_compactors(block)


def masks_of(backbone: Backbone) -> list[BlockChannels]:
    """The selection that the compactors of ``backbone`` hold, one entry per block, True for channels that stay."""
    return [BlockChannels.of_layers(*(compactor.mask for compactor in block_compactors(block)))
            for block in backbone.flat_blocks()]


def set_masks(backbone: Backbone, masks: Sequence[BlockChannels]) -> int:
    """Store ``masks`` in the compactors; returns how many channels flipped."""
    flips = 0
    for compactor, mask in zip(compactors_of(backbone), _stacked(masks)):
        flips += int((compactor.mask != mask).sum())
        compactor.mask.copy_(mask)
    return flips


@torch.no_grad()
def largest_masked_norm(backbone: Backbone, masks: Sequence[BlockChannels] | None = None) -> float:
    """The largest column norm among the channels that ``masks`` (the current ones) drop; 0 where it is none."""
    return max(float((compactor.column_norms() * ~mask).max())
               for compactor, mask in zip(compactors_of(backbone), _stacked(masks or masks_of(backbone))))


def reduction_of(backbone: Backbone, masks: Sequence[BlockChannels] | None = None) -> float:
    """The share of the dense classifier's MACs that is saved when ``masks`` (the current ones) are cut."""
    return reduction(pruned_spec(backbone.spec, masks or masks_of(backbone)))


def mask_scalars(backbone: Backbone) -> dict[str, float]:
    """Numbers to log about the current masks: the reduction, the largest norm of a masked channel, and for every block
    the channels kept per module and the widths that a cut would leave.
    """
    masks = masks_of(backbone)
    scalars = {'reduction': reduction_of(backbone, masks), 'masked_norm': largest_masked_norm(backbone, masks)}
    pruned = pruned_spec(backbone.spec, masks)
    for index, (mask, block) in enumerate(zip(masks, pruned.blocks)):
        name = pruned.arch.block_name(index)
        scalars.update({f'kept/{name}.{part}': int(stays.sum()) for part, stays in mask.items()})
        scalars.update({f'width/{name}.qk': block.qk_dim, f'width/{name}.v': block.v_dim})
    return scalars


def _stacked(masks: Sequence[BlockChannels]) -> Iterator[Tensor]:
    """Masks in the order and shape of :func:`compactors_of`."""
    for block in masks:
        yield from block.by_layer()
