"""Fold: multiply compactors into their layers and cut the channels that were selected, exactly.

The channels that are cut were pushed to zero in training; the folded model equals the training model with those at
zero.
"""
import math
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cait_mm.arch import Arch
from cait_mm.errors import UserError
from cait_mm.macs import reduction
from cait_mm.models import Backbone, Classifier, classifier_backbone
from cait_mm.models.formats import HEADS
from cait_mm.models.widths import widths_in_state_dict
from cait_mm.ops.attention import Attention
from cait_mm.ops.compactor import block_compactors, linear_parameters
from cait_mm.ops.planes import per_channel, per_plane
from cait_mm.pruning.selection import BlockChannels, pruned_spec
from cait_mm.spec import Spec

PAD_TO = 8
"""Widths are padded to multiples of this: fused attention kernels want q, k and v of one width, and matrix products
whose sides are no multiple of 8 cost a sixth more on a CPU (docs/performance.md) and miss a GPU's tensor cores.
"""


@dataclass(frozen=True)
class Folded:
    """A backbone without compactors, with the selection behind it.

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
        """The spec of the folded backbone."""
        return self.backbone.spec

    @property
    def state_dict(self) -> dict[str, Tensor]:
        """The weights of the folded backbone."""
        return self.backbone.state_dict()


def channel_scores(backbone: Backbone) -> list[BlockChannels]:
    """The importance of every channel of a backbone with compactors: the norm of its column."""
    return [BlockChannels.of_layers(*(compactor.column_norms().detach() for compactor in block_compactors(block)))
            for block in backbone.flat_blocks()]


def keep_all(backbone: Backbone) -> list[BlockChannels]:
    """Masks under which every channel of a backbone with compactors stays."""
    return [score.map(lambda values: torch.ones_like(values, dtype=torch.bool)) for score in channel_scores(backbone)]


def removable(masks: BlockChannels, scores: BlockChannels, planes: str | None = None) -> BlockChannels:
    """Masks (True: stays) that drop the channels that can really be removed under ``masks``: every head loses as many
    as the one that can lose fewest, the least important ones, and q and k the same; under rotary positions both
    channels of a plane (``planes``, :mod:`~cait_mm.ops.planes`).
    """
    both, score = masks.q | masks.k, (scores.q + scores.k) / 2
    if planes is None:
        both = _level(both, score)
    else:
        both = per_channel(_level(per_plane(both, planes).any(-1), per_plane(score, planes).mean(-1)), planes)
    return BlockChannels(both, both, _level(masks.v, scores.v), masks.ffn)


def fold(backbone: Backbone, masks: Sequence[BlockChannels], tolerance: float | None = 1e-3,
         pad_to: int = 0) -> Folded:
    """Multiply the compactors of a full-width backbone into its layers and cut the channels that ``masks`` drop.

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
        cut = removable(mask, score, backbone.arch.planes)
        lost += [values[~stays].float().cpu() for (_, values), (_, stays) in zip(score.items(), cut.items())]
        weights = {**_fold_attention(block.attn, cut, pad_to, backbone.arch),
                   **_fold_ffn(block.mlp, cut.ffn, pad_to)}
        path = backbone.arch.block_path(index)
        state.update({f'{path}.{name}': value.detach().clone() for name, value in weights.items()})
    largest = float(torch.cat(lost).max())
    if tolerance is not None and not largest <= tolerance:  # NaN is not below it
        raise UserError(f'the largest channel that would be cut has norm {largest:.3g}, not below {tolerance:g}: it '
                        'has not vanished, and cutting it changes the model. Train longer or with `rule=proximal`, or '
                        'allow a larger `tolerance` or any norm (`tolerance=None`).')
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
        for compactor, stays in zip(block_compactors(block), removable(mask, score, backbone.arch.planes).by_layer()):
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
        if spec.arch.planes is not None:
            block.attn.planes = state[f'{spec.arch.block_path(index)}.attn.planes']
    small.spec = spec
    small.load_state_dict(state)
    return small.eval()


def _level(mask: Tensor, scores: Tensor) -> Tensor:
    """Let every head (row) lose the same number: the fewest of all heads, each its least important dropped ones."""
    count = int((~mask).sum(1).min())
    order = torch.where(mask, torch.inf, scores).argsort(dim=1)
    level = torch.ones_like(mask)
    return level.scatter(1, order[:, :count], False)


def _fold_attention(attention: Attention, cut: BlockChannels, pad_to: int, arch: Arch) -> dict[str, Tensor]:
    heads, planes = attention.num_heads, arch.planes
    parts = [(cut.q, 0), (cut.k, 1), (cut.v, 2)]
    weight = attention.qkv.weight.unflatten(0, (3, heads, -1))
    stacks = {'weight': [_rows(weight[part], mask) for mask, part in parts]}
    if attention.qkv.bias is not None:
        bias = attention.qkv.bias.unflatten(0, (3, heads, -1))
        stacks['bias'] = [_rows(bias[part][..., None], mask) for mask, part in parts]
    proj = _rows(attention.proj.weight.T.unflatten(0, (heads, -1)), cut.v)
    qk, v = _padded_widths(stacks['weight'][0].shape[1], proj.shape[1], pad_to, arch)
    stacks = {name: [_pad(q, qk, planes), _pad(k, qk, planes), _pad(value, v)]
              for name, (q, k, value) in stacks.items()}
    proj = _pad(proj, v)
    qkv = {f'attn.qkv.{name}': torch.cat([part.flatten(0, 1) for part in stack]) for name, stack in stacks.items()}
    if 'bias' in stacks:
        qkv['attn.qkv.bias'] = qkv['attn.qkv.bias'].squeeze(1)
    if planes is not None:
        qkv['attn.planes'] = _planes_left(cut.q, qk, planes)
    return {**qkv, 'attn.proj.weight': proj.flatten(0, 1).T.contiguous()}


def _planes_left(mask: Tensor, width: int, planes: str) -> Tensor:
    """The dense planes of the channels that stay, (heads, width) -> (heads, planes); any for zeros that pad them."""
    stays = per_plane(mask, planes).all(-1)
    left = torch.arange(stays.shape[1]).to(stays.device).expand_as(stays)[stays].unflatten(0, (len(stays), -1))
    return F.pad(left, (0, width // 2 - left.shape[1]))


def _fold_ffn(mlp: torch.nn.Module, mask: Tensor, pad_to: int) -> dict[str, Tensor]:
    kept = int(mask.sum())
    zeros = min(_multiple(kept, pad_to), len(mask)) - kept
    parts = {'mlp.fc2.weight': F.pad(mlp.fc2.weight[:, mask], (0, zeros))}
    for name in linear_parameters(mlp.fc1):
        rows = getattr(mlp.fc1, name).unflatten(0, (-1, len(mask)))[:, mask]  # gates and values, or one stack
        parts[f'mlp.fc1.{name}'] = torch.cat([rows, rows.new_zeros(len(rows), zeros, *rows.shape[2:])], 1).flatten(0, 1)
    return parts


def _rows(stacked: Tensor, mask: Tensor) -> Tensor:
    """The rows of every head that stay: (heads, width, n), (heads, width) -> (heads, kept, n)."""
    return stacked[mask].unflatten(0, (mask.shape[0], -1))


def padded(spec: Spec, pad_to: int) -> Spec:
    """The spec of a fold of ``spec`` whose widths are zero-padded as :func:`fold` does."""
    if not pad_to:
        return spec
    blocks = []
    for block, dense in zip(spec.blocks, Spec.dense(spec.arch).blocks):
        qk, v = _padded_widths(block.qk_dim, block.v_dim, pad_to, spec.arch)
        ffn = min(_multiple(block.ffn_dim, pad_to), dense.ffn_dim)
        blocks.append(replace(block, qk_dim=qk, v_dim=v, ffn_dim=ffn))
    return spec.replace(blocks=tuple(blocks))


def _padded_widths(qk: int, v: int, pad_to: int, arch: Arch) -> tuple[int, int]:
    """The widths of queries and keys and of values after padding: one for all, but where a norm reads the channels of
    one kind these stay as they are.
    """
    widths = {'q': qk, 'v': v}
    free = [name for name in widths if name not in arch.whole]
    if pad_to and free:
        of = pad_to if arch.planes is None else math.lcm(pad_to, 2)
        widths.update(dict.fromkeys(free, _multiple(max(widths[name] for name in free), of)))
    return widths['q'], widths['v']


def _multiple(width: int, of: int) -> int:
    return -(-width // of) * of if of else width


def _pad(stacked: Tensor, width: int, planes: str | None = None) -> Tensor:
    """Zeros behind the channels of every head, or of both its halves, that are planes."""
    if planes == 'halves':
        return torch.cat([_pad(half, width // 2) for half in stacked.chunk(2, 1)], 1)
    return F.pad(stacked, (0, 0, 0, width - stacked.shape[1]))
