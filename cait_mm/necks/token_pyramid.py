"""The token pyramid: maps of one stride become the strides that dense heads expect."""
from collections.abc import Mapping, Sequence

import torch.nn.functional as F
from mmcv.cnn import build_norm_layer
from mmengine.model import BaseModule
from mmengine.registry import MODELS
from torch import Tensor, nn

from cait_mm.errors import UserError


class Halve(nn.Module):
    """2x2 max-pooling: (B, C, H, W) -> (B, C, H // 2, W // 2); a side of one position stays, where pooling would fail.
    """

    def forward(self, x: Tensor) -> Tensor:
        return F.max_pool2d(x, (min(2, x.shape[-2]), min(2, x.shape[-1])))


@MODELS.register_module()
class TokenPyramid(BaseModule):
    """Rescale a plain ViT's maps to a pyramid, 1/4 to 1/32 of the image for patch size 16 (XCiT's recipe).

    x4 is two 2x2 transposed convolutions with norm and GELU between, x2 is one, x1 is the map, x0.5 is max-pooling.
    The same neck serves MMSeg and MMDet (an FPN may follow).

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
        self.ops = nn.ModuleList(self._rescale(embed_dim, factor, norm_cfg) for factor in rescales)

    @staticmethod
    def _rescale(dim: int, factor: float, norm_cfg: Mapping) -> nn.Module:
        if factor == 4:
            norm = build_norm_layer(norm_cfg, dim)[1]
            return nn.Sequential(nn.ConvTranspose2d(dim, dim, 2, stride=2), norm, nn.GELU(),
                                 nn.ConvTranspose2d(dim, dim, 2, stride=2))
        if factor == 2:
            return nn.ConvTranspose2d(dim, dim, 2, stride=2)
        if factor == 1:
            return nn.Identity()
        if factor == 0.5:
            return Halve()
        raise UserError(f'TokenPyramid rescales={factor}: use 4, 2, 1 or 0.5.')

    def forward(self, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Maps (B, C, H, W), one per factor -> maps (B, C, factor * H, factor * W); no side is less than 1."""
        if len(inputs) != len(self.ops):
            raise UserError(f'TokenPyramid has {len(self.ops)} factors and was given {len(inputs)} maps: '
                            'make rescales as long as the backbone\'s out_indices.')
        return tuple(op(x) for op, x in zip(self.ops, inputs))
