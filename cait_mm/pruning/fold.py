"""Fold: multiply compactors into their layers and cut the channels that were selected, exactly.

The channels that are cut were pushed to zero in training; the folded model equals the training model with those at
zero.
"""
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cait_mm.errors import UserError
from cait_mm.macs import reduction
from cait_mm.models import Backbone, Classifier, classifier_backbone
from cait_mm.models.formats import HEADS
from cait_mm.models.widths import widths_in_state_dict
from cait_mm.ops.attention import Attention
from cait_mm.ops.compactor import block_compactors
from cait_mm.pruning.selection import BlockChannels, pruned_spec
from cait_mm.spec import Spec

PAD_TO = 8
"""Widths are padded to multiples of this: fused attention kernels want q, k and v of one width, and matrix products
whose sides are no multiple of 8 cost a sixth more on a CPU (docs/performance.md) and miss a GPU's tensor cores.
"""


@dataclass(frozen=True)
class Folded:
    """A backbone without compactors, and how it came about.

    Args:
        backbone: A copy of the widths that are left, in eval mode.
        selected: The spec before widths were padded.
        largest_cut: The largest norm of a column that was cut.
    """

    backbone: Backbone
    selected: Spec
    largest_cut: float

    @property
    def spec(self) -> Spec:
        """Of the folded backbone."""
        return self.backbone.spec

    @property
    def state_dict(self) -> dict[str, Tensor]:
        """The folded backbone's."""
        return self.backbone.state_dict()


def channel_scores(backbone: Backbone) -> list[BlockChannels]:
    """The importance of every channel of a backbone with compactors: its column's norm."""
    return [BlockChannels.of_layers(*(compactor.column_norms().detach() for compactor in block_compactors(block)))
            for block in backbone.flat_blocks()]


def keep_all(backbone: Backbone) -> list[BlockChannels]:
    """Masks under which every channel of a backbone with compactors stays."""
    return [score.map(lambda values: torch.ones_like(values, dtype=torch.bool)) for score in channel_scores(backbone)]


def removable(masks: BlockChannels, scores: BlockChannels) -> BlockChannels:
    """Masks (True: stays) that drop the channels that can really be removed under ``masks``: every head loses as many
    as the one that can lose fewest, the least important ones, and q and k the same.
    """
    both = _level(masks.q | masks.k, (scores.q + scores.k) / 2)
    return BlockChannels(both, both, _level(masks.v, scores.v), masks.ffn)


def fold(backbone: Backbone, masks: Sequence[BlockChannels], tolerance: float | None = 1e-3,
         pad_to: int = 0) -> Folded:
    """Multiply the compactors of a full-width backbone into its layers and cut what ``masks`` drop.

    Args:
        backbone: A backbone whose blocks carry compactors; it is left as it is.
        masks: One entry per block, True for channels that stay.
        tolerance: The largest column norm that may be cut; None cuts whatever it is.
        pad_to: Zero-pad q, k and v of a head to one common multiple of this and the FFN to another, which changes
            nothing but lets fast kernels serve; 0 leaves the widths as selected.

    Raises:
        UserError: A channel that is not below ``tolerance`` would be cut: it has not vanished.
    """
    scores = channel_scores(backbone)
    state = {name: value.detach().clone() for name, value in backbone.state_dict().items()
             if '.parametrizations.' not in name}
    lost = [torch.zeros(1)]
    for index, (block, mask, score) in enumerate(zip(backbone.flat_blocks(), masks, scores)):
        cut = removable(mask, score)
        lost += [values[~stays].float().cpu() for (_, values), (_, stays) in zip(score.items(), cut.items())]
        weights = {**_fold_attention(block.attn, cut, pad_to), **_fold_ffn(block.mlp, cut.ffn, pad_to)}
        path = backbone.arch.block_path(index)
        state.update({f'{path}.{name}': value.detach().clone() for name, value in weights.items()})
    largest = float(torch.cat(lost).max())
    if tolerance is not None and not largest <= tolerance:  # NaN is not below it
        raise UserError(f'the largest channel that would be cut has norm {largest:.3g}, not below {tolerance:g}: it '
                        'has not vanished, so cutting it changes the model. Train longer, use the proximal rule, or '
                        'allow it with a higher tolerance.')
    return Folded(_of_widths(backbone, state), pruned_spec(backbone.spec, masks), largest)


def fold_classifier(model: Classifier, masks: Sequence[BlockChannels], tolerance: float | None = 1e-3,
                    pad_to: int = PAD_TO, **provenance: Any) -> Classifier:
    """The classifier without compactors and without the channels that ``masks`` drop; ``model`` stays as it is.

    Its ``provenance`` is the model's and the one given, with ``selected_reduction``, the share of MACs that is saved
    before widths are padded, and ``largest_cut``, the largest norm of a column that was cut.

    Args:
        model: A classifier with compactors.
        masks, tolerance, pad_to: As in :func:`fold`.
        provenance: More to record, in plain types.

    Raises:
        UserError: As :func:`fold`.
    """
    return with_folded(model, fold(model.backbone, masks, tolerance, pad_to), **provenance)


def with_folded(model: Classifier, folded: Folded, **provenance: Any) -> Classifier:
    """The classifier of ``model``'s heads, copied, on a folded backbone; see :func:`fold_classifier`."""
    backbone = classifier_backbone(folded.spec, img_size=model.backbone.img_size).to(next(model.parameters()))
    backbone.load_state_dict(folded.state_dict)
    small = Classifier(backbone, model.num_classes, {
        **model.provenance, **provenance, 'selected_reduction': reduction(folded.selected),
        'largest_cut': folded.largest_cut})
    for name in HEADS:
        if getattr(model, name) is not None:
            setattr(small, name, deepcopy(getattr(model, name)))
    return small.eval()


@torch.no_grad()
def without_masked(backbone: Backbone, masks: Sequence[BlockChannels]) -> Backbone:
    """A copy of a backbone with compactors whose columns that can be removed under ``masks`` are zero."""
    backbone = deepcopy(backbone)
    for block, mask, score in zip(backbone.flat_blocks(), masks, channel_scores(backbone)):
        for compactor, stays in zip(block_compactors(block), removable(mask, score).by_layer()):
            compactor.columns.mul_(stays[..., None])
    return backbone


def _of_widths(backbone: Backbone, state: Mapping[str, Tensor]) -> Backbone:
    """A copy of ``backbone`` with the weights in ``state``, whose layers have the widths that its shapes tell."""
    small, spec = deepcopy(backbone), widths_in_state_dict(backbone.spec, state)
    for index, (block, widths) in enumerate(zip(small.flat_blocks(), spec.blocks)):
        block.attn.qk_dim, block.attn.v_dim = widths.qk_dim, widths.v_dim
        for part, name in ((block.attn, 'attn.qkv'), (block.attn, 'attn.proj'), (block.mlp, 'mlp.fc1'),
                           (block.mlp, 'mlp.fc2')):
            weight, leaf = state[f'{spec.arch.block_path(index)}.{name}.weight'], name.rpartition('.')[2]
            setattr(part, leaf, nn.utils.skip_init(
                nn.Linear, *weight.shape[::-1], bias=getattr(part, leaf).bias is not None, device=weight.device,
                dtype=weight.dtype))
    small.spec = spec
    small.load_state_dict(state)
    return small.eval()


def _level(mask: Tensor, scores: Tensor) -> Tensor:
    """Let every head (row) lose the same number: the fewest of all heads, each its least important dropped ones."""
    count = int((~mask).sum(1).min())
    order = torch.where(mask, torch.inf, scores).argsort(dim=1)
    level = torch.ones_like(mask)
    return level.scatter(1, order[:, :count], False)


def _fold_attention(attention: Attention, cut: BlockChannels, pad_to: int) -> dict[str, Tensor]:
    heads = attention.num_heads
    parts = [(cut.q, 0), (cut.k, 1), (cut.v, 2)]
    weight = attention.qkv.weight.unflatten(0, (3, heads, -1))
    stacks = {'weight': [_rows(weight[part], mask) for mask, part in parts]}
    if attention.qkv.bias is not None:
        bias = attention.qkv.bias.unflatten(0, (3, heads, -1))
        stacks['bias'] = [_rows(bias[part][..., None], mask) for mask, part in parts]
    proj = _rows(attention.proj.weight.T.unflatten(0, (heads, -1)), cut.v)
    if pad_to:
        width = _multiple(max(part.shape[1] for part in stacks['weight']), pad_to)
        stacks = {name: [_pad(part, width) for part in stack] for name, stack in stacks.items()}
        proj = _pad(proj, width)
    qkv = {f'attn.qkv.{name}': torch.cat([part.flatten(0, 1) for part in stack]) for name, stack in stacks.items()}
    if 'bias' in stacks:
        qkv['attn.qkv.bias'] = qkv['attn.qkv.bias'].squeeze(1)
    return {**qkv, 'attn.proj.weight': proj.flatten(0, 1).T.contiguous()}


def _fold_ffn(mlp: torch.nn.Module, mask: Tensor, pad_to: int) -> dict[str, Tensor]:
    kept = int(mask.sum())
    zeros = _multiple(kept, pad_to) - kept if pad_to else 0
    return {'mlp.fc1.weight': F.pad(mlp.fc1.weight[mask], (0, 0, 0, zeros)),
            'mlp.fc1.bias': F.pad(mlp.fc1.bias[mask], (0, zeros)),
            'mlp.fc2.weight': F.pad(mlp.fc2.weight[:, mask], (0, zeros))}


def _rows(stacked: Tensor, mask: Tensor) -> Tensor:
    """The rows of every head that stay: (heads, width, n), (heads, width) -> (heads, kept, n)."""
    return stacked[mask].unflatten(0, (mask.shape[0], -1))


def padded(spec: Spec, pad_to: int) -> Spec:
    """The spec of a fold of ``spec`` whose widths are zero-padded as :func:`fold` does."""
    if not pad_to:
        return spec
    blocks = []
    for block, dense in zip(spec.blocks, Spec.dense(spec.arch).blocks):
        width = _multiple(max(block.qk_dim, block.v_dim), pad_to)
        ffn = min(_multiple(block.ffn_dim, pad_to), dense.ffn_dim)
        blocks.append(replace(block, qk_dim=width, v_dim=width, ffn_dim=ffn))
    return spec.replace(blocks=tuple(blocks))


def _multiple(width: int, of: int) -> int:
    return -(-width // of) * of


def _pad(stacked: Tensor, width: int) -> Tensor:
    return F.pad(stacked, (0, 0, 0, width - stacked.shape[1]))
