"""LV-ViT with merged tokens and per-block widths: DeiT with another stem and scaled residuals."""
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from cait_mm.models.arguments import checked_flag
from cait_mm.models.block import Block
from cait_mm.models.deit import DeiT


class ConvStem(nn.Module):
    """Four convolutions that make patches: (B, in, H, W) -> (B, C, ceil(H / patch), ceil(W / patch)).

    Names are those of the official checkpoints. Partial patches are padded with zeros at the right and the bottom.
    """

    def __init__(self, patch_size: int, stem_dim: int, embed_dim: int, in_channels: int = 3) -> None:
        super().__init__()
        self.patch_size = patch_size
        self.conv1 = nn.Conv2d(in_channels, stem_dim, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(stem_dim)
        self.conv2 = nn.Conv2d(stem_dim, stem_dim, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(stem_dim)
        self.conv3 = nn.Conv2d(stem_dim, stem_dim, 3, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(stem_dim)
        self.proj = nn.Conv2d(stem_dim, embed_dim, patch_size // 2, stride=patch_size // 2)

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        x = F.pad(x, (0, -width % self.patch_size, 0, -height % self.patch_size))
        for conv, norm in ((self.conv1, self.bn1), (self.conv2, self.bn2), (self.conv3, self.bn3)):
            x = norm(conv(x)).relu()
        return self.proj(x)


class LVViT(DeiT):
    """LV-ViT with asymmetric token merging and per-block widths.

    Args:
        arch: ``lvvit_s``, ``lvvit_m``, or a dict with ``embed_dim``, ``depth``, ``num_heads`` and optionally
            ``mlp_ratio``, ``residual_scale``, ``stem_dim``, ``patch_size``, ``img_size``.
        out_indices: Blocks whose output is returned.
        norm_eval: Keep the stem's batch norms on their running statistics in training: for small batches.
        kwargs: As in :class:`~cait_mm.models.deit.DeiT`.
    """

    family: ClassVar[str] = 'lvvit'
    stem_key: ClassVar[str] = 'patch_embed.conv1.weight'

    def __init__(self,
                 arch: str | Mapping[str, Any] = 'lvvit_s',
                 out_indices: int | Sequence[int] = (4, 7, 10, 15),
                 norm_eval: bool = False,
                 **kwargs: Any) -> None:
        self.norm_eval = checked_flag('norm_eval', norm_eval)
        super().__init__(arch, out_indices=out_indices, **kwargs)

    def _stem(self) -> nn.Module:
        return ConvStem(self.arch.patch_size, self.arch.stem_dim, self.arch.embed_dim, self.arch.in_channels)

    def _block(self, index: int, residual_scale: float = 1.) -> Block:
        return super()._block(index, self.arch.residual_scale)

    def train(self, mode: bool = True) -> 'LVViT':
        super().train(mode)
        if self.norm_eval:
            for norm in (self.patch_embed.bn1, self.patch_embed.bn2, self.patch_embed.bn3):
                norm.eval()
        return self
