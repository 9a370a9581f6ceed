"""Pyramids of a plain ViT: maps of one stride become the strides that dense heads expect."""
from collections.abc import Mapping, Sequence

import torch.nn.functional as F
from mmcv.cnn import ConvModule, build_norm_layer
from mmengine.model import BaseModule
from mmengine.registry import MODELS
from timm.layers import LayerNorm2d
from torch import Tensor, nn

from cait_mm.errors import UserError

MODELS.register_module('LN2d', module=LayerNorm2d)


class Halve(nn.Module):
    """2x2 max-pooling: (B, C, H, W) -> (B, C, H // 2, W // 2); a side of one position stays, where pooling would fail.
    """

    def forward(self, x: Tensor) -> Tensor:
        return F.max_pool2d(x, (min(2, x.shape[-2]), min(2, x.shape[-1])))


def rescaled(dim: int, widths: tuple[int, int], factor: float, norm_cfg: Mapping) -> nn.Module:
    """A module from maps (B, dim, H, W) to maps of ``factor`` times their sides: x4 by two 2x2 transposed convolutions
    with norm and GELU between, x2 by one, x0.5 by max-pooling.

    Args:
        dim: Channels.
        widths: Channels at twice and at four times the sides.
        factor: 4, 2, 1 or 0.5.
        norm_cfg: The norm inside x4.

    Raises:
        UserError: Another factor.
    """
    if factor in (1, 0.5):
        return nn.Identity() if factor == 1 else Halve()
    if factor not in (2, 4):
        raise UserError(f'rescales={factor}: use 4, 2, 1 or 0.5.')
    double = nn.ConvTranspose2d(dim, widths[0], 2, stride=2)
    if factor == 2:
        return double
    norm = build_norm_layer(norm_cfg, widths[0])[1]
    return nn.Sequential(double, norm, nn.GELU(), nn.ConvTranspose2d(*widths, 2, stride=2))


@MODELS.register_module()
class TokenPyramid(BaseModule):
    """Rescale a plain ViT's maps to a pyramid, 1/4 to 1/32 of the image for patch size 16 (XCiT's recipe).

    Maps keep their channels (:func:`rescaled`). The same neck serves MMSeg and MMDet (an FPN may follow).

    Args:
        embed_dim: Channels C of every map.
        rescales: The factor of each map, of 4, 2, 1 and 0.5.
        norm_cfg: The norm inside x4; None is ``SyncBN``, which MMEngine turns into BN where one process trains.

    Raises:
        UserError: An unknown factor.
    """

    def __init__(self,
                 embed_dim: int,
                 rescales: Sequence[float] = (4, 2, 1, 0.5),
                 norm_cfg: Mapping | None = None,
                 init_cfg: Mapping | None = None) -> None:
        super().__init__(init_cfg=init_cfg)
        norm_cfg = norm_cfg or dict(type='SyncBN', requires_grad=True)
        self.ops = nn.ModuleList(rescaled(embed_dim, (embed_dim, embed_dim), factor, norm_cfg) for factor in rescales)

    def forward(self, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Maps (B, C, H, W), one per factor -> maps (B, C, factor * H, factor * W); no side is less than 1."""
        if len(inputs) != len(self.ops):
            raise UserError(f'TokenPyramid has {len(self.ops)} factors and was given {len(inputs)} maps: '
                            'make rescales as long as the backbone\'s out_indices.')
        return tuple(op(x) for op, x in zip(self.ops, inputs))


@MODELS.register_module()
class SimplePyramid(BaseModule):
    """ViTDet's simple feature pyramid: the last map alone becomes all scales, without a top-down path.

    Maps lose channels as they grow (:func:`rescaled`), a half at x2 and three quarters at x4. A 1x1 and a 3x3
    convolution, each with a norm, bring them to ``out_channels``. Further maps take every other position of the last.

    Args:
        embed_dim: Channels C of the map.
        out_channels: Channels of every output.
        num_outs: How many outputs there are, at least as many as ``rescales``.
        rescales: Factors of the first outputs, of 4, 2, 1 and 0.5.
        norm_cfg: The norm everywhere; None is detectron2's, a LayerNorm over channels (``LN2d``, eps 1e-6).

    Raises:
        UserError: An unknown factor, or fewer outputs than factors.
    """

    def __init__(self,
                 embed_dim: int,
                 out_channels: int,
                 num_outs: int,
                 rescales: Sequence[float] = (4, 2, 1, 0.5),
                 norm_cfg: Mapping | None = None,
                 init_cfg: Mapping | None = None) -> None:
        super().__init__(init_cfg=init_cfg)
        if num_outs < len(rescales):
            raise UserError(f'SimplePyramid num_outs={num_outs}: it has {len(rescales)} factors, give as many or more.')
        self.num_outs, norm_cfg = num_outs, norm_cfg or dict(type='LN2d', eps=1e-6)
        widths = {4: embed_dim // 4, 2: embed_dim // 2}

        def conv(before: int, kernel: int) -> ConvModule:
            return ConvModule(before, out_channels, kernel, padding=kernel // 2, norm_cfg=norm_cfg, act_cfg=None)

        self.ops = nn.ModuleList(
            nn.Sequential(rescaled(embed_dim, (widths[2], widths[4]), factor, norm_cfg),
                          conv(widths.get(factor, embed_dim), 1), conv(out_channels, 3)) for factor in rescales)

    def forward(self, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Maps of which the last one (B, C, H, W) is used -> maps (B, out_channels, factor * H, factor * W)."""
        maps = [op(inputs[-1]) for op in self.ops]
        while len(maps) < self.num_outs:
            maps.append(F.max_pool2d(maps[-1], 1, stride=2))
        return tuple(maps)
