"""Figures of a compression run: kept channels, heads, CLS attention, curves (paper, Fig. 6 to 8)."""
import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from PIL import Image
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from torch import Tensor

from cait_mm.backbones import CAITDeiT
from cait_mm.ops.token_merge import restore
from cait_mm.pruning.fold import removable
from cait_mm.pruning.selection import BlockChannels, pruned_spec
from cait_mm.spec import Spec
from cait_mm.utils.files import atomic_path
from cait_mm.utils.pictures import read_image

NEAR_ZERO = 1e-3
"""Norm below which a channel counts as near-zero."""
RED, GREEN, BLUE = '#c44e52', '#55a868', '#4c72b0'


def read_scalars(work_dir: Path, key: str) -> tuple[list[int], list[float]]:
    """Steps and values of a scalar over all runs in a work directory; a resumed run replaces repeated steps."""
    scalars: dict[int, float] = {}
    for path in sorted(work_dir.glob('*/vis_data/scalars.json')):
        records = [record for record in _records(path) if {key, 'step'} <= record.keys()]
        first = min((record['step'] for record in records), default=0)
        scalars = {step: value for step, value in scalars.items() if step < first}
        scalars.update({record['step']: record[key] for record in records})
    return list(scalars), list(scalars.values())


def _records(path: Path) -> Iterator[dict[str, Any]]:
    """The lines of a file of scalars that are whole: a kill may leave a torn one."""
    for line in path.read_text(errors='replace').splitlines():
        with suppress(ValueError):
            record = json.loads(line)
            if isinstance(record, dict):
                yield {name: value for name, value in record.items() if isinstance(value, (int, float))}


def kept_channels(spec: Spec, masks: Sequence[BlockChannels]) -> Figure:
    """The share of channels that every block keeps, by module (Fig. 6)."""
    figure = Figure(figsize=(8, 3.2), layout='constrained')
    axes, pruned = figure.subplots(), pruned_spec(spec, masks)
    for offset, (name, label, colour) in enumerate((('qk_dim', 'query, key', BLUE), ('v_dim', 'value', GREEN),
                                                    ('ffn_dim', 'FFN', RED))):
        shares = [100 * getattr(cut, name) / getattr(full, name) for full, cut in zip(spec.blocks, pruned.blocks)]
        axes.bar(np.arange(len(shares)) + 0.27 * (offset - 1), shares, 0.27, label=label, color=colour)
    axes.set(xlabel='block (0-based)', ylabel='channels kept, %', ylim=(0, 105))
    axes.set_xticks(range(len(spec.blocks)), [spec.arch.block_name(index) for index in range(len(spec.blocks))])
    axes.legend(ncols=3, loc='lower center', bbox_to_anchor=(0.5, 1))
    return figure


def channels_per_head(runs: dict[str, tuple[list[BlockChannels], list[BlockChannels], str | None]]) -> Figure:
    """Near-zero and really cut channels of every head, a row of panels for each run (Fig. 7).

    Args:
        runs: Norms and masks of the blocks, and the architecture's ``planes``, by name of the run. With both
            consistencies the two agree.
    """
    figure = Figure(figsize=(9, 2.4 * len(runs)), layout='constrained')
    rows = figure.subplots(len(runs), 3, squeeze=False, sharex=True)
    for row, (name, (scores, masks, planes)) in zip(rows, runs.items()):
        cuts = [removable(mask, score, planes) for mask, score in zip(masks, scores)]
        for axes, module in zip(row, 'qkv'):
            near = torch.cat([(getattr(score, module) < NEAR_ZERO).sum(1) for score in scores])
            cut = torch.cat([(~getattr(stays, module)).sum(1) for stays in cuts])
            heads = np.arange(len(near))
            axes.bar(heads, near, 1., color=RED, label='near zero')
            axes.bar(heads, cut, 1., color=BLUE, label='cut')
            axes.set(title=f'{name}: {module}', xlabel='head, block by block', ylabel='channels')
    rows[0][0].legend()
    return figure


@torch.no_grad()
def cls_attention(backbone: CAITDeiT, image: Tensor) -> Tensor:
    """The attention of CLS in the last block, mean over heads, on the grid of the block's input before merging (Fig.
    8).

    Args:
        backbone: Folded or dense, in eval mode.
        image: (1, 3, H, W), normalised.

    Returns:
        (H / 16, W / 16), rows of the softmax without CLS and the other tokens in front, for patch size 16.
    """
    attention, seen = backbone.blocks[-1].attn, []
    attend = attention.attend

    def watched(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None) -> Tensor:
        seen.append((q[:, :, :1] @ k.mT * attention.scale) + (0 if bias is None else bias[:, :, :1]))
        return attend(q, k, v, bias)

    attention.attend = watched
    try:
        _, grid = backbone.forward_tokens(image)
    finally:
        del attention.attend
    weights = seen[0].softmax(-1)[0, :, 0, backbone.num_cls:].mean(0)
    return restore(weights.view(1, 1, *grid), backbone.spec.arch.grid(tuple(image.shape[-2:])))[0, 0]


def attention_maps(image: Tensor, backbones: dict[str, CAITDeiT]) -> Figure:
    """An image and the CLS attention of several models over it."""
    figure = Figure(figsize=(3 * (len(backbones) + 1), 3.2), layout='constrained')
    panels = figure.subplots(1, len(backbones) + 1)
    mean, std = (torch.tensor(value).view(3, 1, 1) for value in (IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD))
    pixels = (image[0] * std + mean).clamp(0, 1).permute(1, 2, 0).numpy()
    panels[0].imshow(pixels)
    panels[0].set_title('image')
    for axes, (name, backbone) in zip(panels[1:], backbones.items()):
        weights = cls_attention(backbone, image)[None, None]
        weights = F.interpolate(weights, size=image.shape[-2:], mode='nearest')[0, 0]
        axes.imshow(pixels)
        axes.imshow(weights / weights.max(), cmap='jet', alpha=0.5)
        axes.set_title(name)
    for axes in panels:
        axes.set_axis_off()
    return figure


def curves(work_dir: Path) -> Figure:
    """The ramp, the largest masked norm, the loss and the accuracy of a run, over its iterations."""
    figure = Figure(figsize=(9, 5), layout='constrained')
    (ramp, norm), (loss, top1) = figure.subplots(2, 2)
    for key, colour, label in (('cdcp/wanted', 'grey', 'wanted'), ('cdcp/reduction', BLUE, 'reached')):
        steps, values = read_scalars(work_dir, key)
        ramp.plot(steps, 100 * np.array(values), color=colour, label=label)
    ramp.set(title='MACs saved, %')
    ramp.legend()
    for axes, key, title in ((norm, 'cdcp/masked_norm', 'largest norm of a masked channel'), (loss, 'loss', 'loss'),
                             (top1, 'top1', 'top-1, % (by epoch)')):
        axes.plot(*read_scalars(work_dir, key), color=BLUE, marker='.' if key == 'top1' else '')
        axes.set(title=title)
    return figure


def save(figure: Figure, path: Path) -> Path:
    """Write a figure as PNG; its path."""
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=110)
    return path


def load_image(path: Path, size: tuple[int, int]) -> Tensor:
    """An image, resized and normalised as for ImageNet: (1, 3, H, W)."""
    pixels = np.asarray(read_image(path).resize(size[::-1], Image.BICUBIC), dtype=np.float32) / 255
    return torch.from_numpy((pixels - IMAGENET_DEFAULT_MEAN) / IMAGENET_DEFAULT_STD).permute(2, 0, 1)[None].float()


def describe(masks: Sequence[BlockChannels], scores: Sequence[BlockChannels],
             planes: str | None = None) -> dict[str, Any]:
    """How many q, k and v channels are near zero, masked, and can really be cut; ``planes`` is the architecture's."""
    near = masked = cut = total = 0
    for mask, score in zip(masks, scores):
        real = removable(mask, score, planes)
        for name in 'qkv':
            near += int((getattr(score, name) < NEAR_ZERO).sum())
            masked += int((~getattr(mask, name)).sum())
            cut += int((~getattr(real, name)).sum())
            total += getattr(mask, name).numel()
    return {'attention_channels': total, 'near_zero': near, 'masked': masked, 'cut': cut}
