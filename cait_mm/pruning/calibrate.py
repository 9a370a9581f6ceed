"""The importance of channels from some dozens of unlabelled images, without training.

At identity all compactor columns have norm 1, so the first selections are random. Here the basis of every attention is
changed, which keeps its outputs and orders its channels by their contribution:

- q and k of a head: with ``E[q q^T] = Rq^T Rq`` and ``E[k k^T] = Rk^T Rk`` over the images (biases included), the SVD
  ``Rq Rk^T = U S V^T`` gives ``q' = S^1/2 U^T Rq^-T q`` and ``k' = S^1/2 V^T Rk^-T k``: the same products q.k, and
  channel i contributes S_i to them. q and k agree on the order by construction.
- v with the output projection Wo: the SVD ``Wo Rv^T = U S V^T`` gives ``v' = S^1/2 V^T Rv^-T v``, ``Wo' = U S^1/2``.
- A hidden channel of the FFN stays; its contribution is its activation's RMS times the norm of its outgoing weights.

Channels that are cut afterwards are predicted by those that stay (:mod:`~cait_mm.pruning.compensate`).

These contributions are compared over all modules without rescaling (docs/design.md has the measurement). Their order,
spread evenly over 0.5 to 1.5, becomes the compactors' column norms, so the paper's score, consistencies and budget work
unchanged. The contributions themselves span six orders of magnitude: Adam's steps would tear such columns apart.
"""
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from cait_mm.arch import Arch
from cait_mm.errors import UserError
from cait_mm.models import Backbone
from cait_mm.ops.attention import Attention
from cait_mm.ops.compactor import add_block_compactors, hidden_groups, linear_parameters
from cait_mm.ops.planes import per_channel, per_plane
from cait_mm.ops.semantic import CrossAttention
from cait_mm.pruning.compensate import Moments, Sums
from cait_mm.pruning.selection import BlockChannels

START_NORMS = (0.5, 1.5)
"""Column norms of the least and the most important channel at the start."""


@dataclass(frozen=True)
class Calibration:
    """The importance of every channel, and the moments that compensating a cut needs.

    Args:
        scores: One entry per block.
        ffn: Moments of every FFN's hidden activation, (hidden,) channels.
        values: Moments of the input of every attention's projection in the new basis, (heads * width,) channels.
        images: The number of images behind all this.
    """

    scores: list[BlockChannels]
    ffn: list[Moments]
    values: list[Moments]
    images: int


@torch.no_grad()
def calibrate(backbone: Backbone, images: Iterable[Tensor]) -> Calibration:
    """Change a full-width backbone to its singular basis, in place; its outputs stay the same.

    Args:
        backbone: Pretrained, merges in place, full widths, no compactors yet.
        images: Batches (B, C, H, W) of the architecture's channels, normalised as in training.

    Raises:
        UserError: There are no images, or they have another number of channels, or queries and keys are of different
            tokens.
    """
    require_self_attention(backbone)
    statistics, count = _streamed(backbone, images)
    like = next(backbone.parameters())
    scores, hidden, values = [], [], []
    for block, sums in zip(backbone.flat_blocks(), statistics):
        moments = sums['qkv'] / sums['tokens']
        qk, v, to_v = _rotate_attention(block.attn, moments.unflatten(0, (3, -1)), backbone.arch)
        values.append(sums['values'].moments().turned(torch.block_diag(*to_v)))
        hidden.append(sums['ffn'].moments())
        ffn = hidden[-1].second.diagonal().sqrt() * block.mlp.fc2.weight.double().norm(dim=0)
        scores.append(BlockChannels(qk, qk, v, ffn).map(lambda values: values.to(like)))
    return Calibration(scores, hidden, values, count)


@torch.no_grad()
def in_own_basis(backbone: Backbone, images: Iterable[Tensor], scores: Sequence[BlockChannels]) -> Calibration:
    """The calibration of a full-width backbone whose channels stay as they are and have been scored otherwise.

    q and k lose the same channels, so both have the mean of their scores.

    Args:
        backbone, images: As in :func:`calibrate`; only layer scale moves into the layers before it.
        scores: One entry per block.

    Raises:
        UserError: As :func:`calibrate`.
    """
    statistics, count = _streamed(backbone, images)
    shared = [replace(block, q=(block.q + block.k) / 2, k=(block.q + block.k) / 2) for block in scores]
    return Calibration(shared, *([sums[name].moments() for sums in statistics] for name in ('ffn', 'values')), count)


def start_norms(scores: Sequence[BlockChannels]) -> list[BlockChannels]:
    """The column norms that compactors start with: the rank of every score among all, spread over ``START_NORMS``.

    Taking channels in the order of these norms is taking them in the order of the scores.
    """
    low, high = START_NORMS
    ordered = torch.cat([item.flatten() for block in scores for item in (block.q, block.v, block.ffn)]).unique()
    step = (high - low) / max(1, len(ordered) - 1)

    def norm(values: Tensor) -> Tensor:
        return low + step * torch.searchsorted(ordered, values.contiguous()).to(values)

    return [block.map(norm) for block in scores]


@torch.no_grad()
def add_calibrated_compactors(backbone: Backbone, calibration: Calibration) -> None:
    """Put compactors whose column norms follow the importance on every block; the outputs stay the same."""
    for block, score in zip(backbone.flat_blocks(), start_norms(calibration.scores)):
        added = add_block_compactors(block.attn, block.mlp.fc1, hidden_groups(block.mlp))
        for compactor, norms, layer in zip(added, score.by_layer(), (block.attn.qkv, block.mlp.fc1)):
            compactor.columns.copy_(torch.diag_embed(norms))
            for name in layer.parametrizations:
                original = layer.parametrizations[name].original
                rows = original.reshape(*compactor.columns.shape[:2], -1)
                original.copy_((rows / norms[..., None]).reshape(original.shape))


def require_self_attention(backbone: Backbone) -> None:
    """Raises:
        UserError: A block's queries are of other tokens than its keys, so that its ``qkv`` is never called as a whole.
    """
    if any(isinstance(block.attn, CrossAttention) for block in backbone.flat_blocks()):
        raise UserError(f'tokens={type(backbone.spec.tokens).__name__}: its queries and keys are of different tokens, '
                        'and a calibrated start and scores of outputs look at both in one: start CDCP without images, '
                        'or compress by score=\'magnitude\' or \'lfs\'.')


def fitting(images: Iterable[Tensor], arch: Arch) -> Iterator[Tensor]:
    """The batches of ``images``.

    Raises:
        UserError: There are no images, or they have another number of channels than ``arch``.
    """
    count = 0
    for batch in images:
        if batch.shape[1] != arch.in_channels:
            raise UserError(f'the images have {batch.shape[1]} channels and {arch.name} takes {arch.in_channels}: '
                            'calibrate on images like those of the training.')
        count += len(batch)
        yield batch
    if not count:
        raise UserError('there are no images to calibrate on: some dozens are enough, labels are not needed.')


def _streamed(backbone: Backbone, images: Iterable[Tensor]) -> tuple[list[dict[str, Any]], int]:
    """The statistics of every block over the images, and their number; layer scale is folded before."""
    training, like, count = backbone.training, next(backbone.parameters()), 0
    backbone.eval()
    for block in backbone.flat_blocks():
        block.fold_layer_scale()
    with _statistics(backbone) as statistics:
        for batch in fitting(images, backbone.arch):
            backbone.forward_tokens(batch.to(like))
            count += len(batch)
    backbone.train(training)
    return statistics, count


@contextmanager
def _statistics(backbone: Backbone) -> Iterator[list[dict[str, Any]]]:
    """Collect, in double precision, second moments of q, k and v per head, and the inputs of the projection and fc2."""
    statistics: list[dict[str, Any]] = [{} for _ in backbone.flat_blocks()]
    hooks = []
    for block, into in zip(backbone.flat_blocks(), statistics):
        heads = block.attn.num_heads

        def on_qkv(_: nn.Module, __: tuple, output: Tensor, into: dict = into, heads: int = heads) -> None:
            rows = output.double().flatten(0, 1).unflatten(-1, (3 * heads, -1)).transpose(0, 1)
            into['qkv'] = into.get('qkv', 0) + rows.transpose(1, 2) @ rows
            into['tokens'] = into.get('tokens', 0) + rows.shape[1]

        into['ffn'], into['values'] = Sums(), Sums()
        hooks += [block.attn.qkv.register_forward_hook(on_qkv),
                  block.mlp.fc2.register_forward_pre_hook(partial(_on_input, into['ffn'])),
                  block.attn.proj.register_forward_pre_hook(partial(_on_input, into['values']))]
    try:
        yield statistics
    finally:
        for hook in hooks:
            hook.remove()


def _on_input(sums: Sums, _: nn.Module, inputs: tuple[Tensor, ...]) -> None:
    sums.add(inputs[0].flatten(0, 1))


def _rotate_attention(attention: Attention, moments: Tensor, arch: Arch) -> tuple[Tensor, Tensor, Tensor]:
    """Change the basis of q and k, and of v and the projection.

    Planes of rotary positions are not mixed: both channels of one contribute what the plane does. Neither are channels
    that a norm reads; all of them stay.

    Returns:
        The singular values (heads, width) of both, and the change of every head's values, (heads, width, width).
    """
    roots, still = _root(moments), torch.eye(moments.shape[-1]).to(moments).expand(moments.shape[1:])
    if arch.planes is None and 'q' not in arch.whole:
        u, s_qk, vh = torch.linalg.svd(roots[0] @ roots[1].mT)
        scale = s_qk.sqrt()[..., None]
        to_q = scale * torch.linalg.solve(roots[0], u).mT
        to_k = scale * torch.linalg.solve(roots[1], vh.mT).mT
    else:
        to_q, to_k, s_qk = still, still, _as_they_are(moments[0], moments[1], arch.planes)
    proj = attention.proj.weight.double().T.unflatten(0, (attention.num_heads, -1)).mT
    if 'v' in arch.whole:
        to_v, s_v, turned = still, moments[2].diagonal(dim1=-2, dim2=-1).sqrt() * proj.norm(dim=1), proj
    else:
        u, s_v, vh = torch.linalg.svd(proj @ roots[2].mT, full_matrices=False)
        scale = s_v.sqrt()[..., None]
        to_v, turned = scale * torch.linalg.solve(roots[2], vh.mT).mT, u * scale.mT
    change = torch.stack([to_q, to_k, to_v]).flatten(0, 1)
    for name in linear_parameters(attention.qkv):
        parameter = getattr(attention.qkv, name)
        rows = parameter.double().reshape(*change.shape[:2], -1)
        parameter.copy_((change @ rows).reshape(parameter.shape))
    attention.proj.weight.copy_(turned.permute(1, 0, 2).flatten(1))
    return s_qk, s_v, to_v


def _as_they_are(q: Tensor, k: Tensor, planes: str | None) -> Tensor:
    """The contributions (heads, width) of channels of queries and keys in the basis that they have, from their moments;
    for both channels of a plane their mean over all angles.
    """
    both = [item.diagonal(dim1=-2, dim2=-1) for item in (q, k)]
    if planes is not None:
        both = [per_channel(per_plane(item, planes).mean(-1), planes) for item in both]
    return (both[0] * both[1]).sqrt()


def _root(moments: Tensor) -> Tensor:
    """Upper triangular R with ``moments = R^T R``; a small ridge makes it invertible in unused directions."""
    ridge = 1e-8 * moments.diagonal(dim1=-2, dim2=-1).mean(-1)[..., None, None]
    return torch.linalg.cholesky(moments + ridge * torch.eye(moments.shape[-1]).to(moments)).mT
