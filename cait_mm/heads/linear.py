"""The linear head: one 1x1 convolution behind a batch norm."""
from collections.abc import Mapping, Sequence
from typing import Any

from mmcv.cnn import build_norm_layer
from mmengine.registry import MODELS
from mmseg.models.decode_heads.decode_head import BaseDecodeHead
from torch import Tensor


@MODELS.register_module()
class LinearHead(BaseDecodeHead):
    """The head of DINOv2's linear evaluation of segmentation: the logits of a position follow from its own features.

    Args:
        in_channels: Channels of the map; a list with ``input_transform='resize_concat'``, which reads several maps.
        norm_cfg: None is ``SyncBN``, which MMEngine turns into BN if one process trains.
        **keywords: As :class:`mmseg.models.decode_heads.decode_head.BaseDecodeHead`, ``num_classes`` at least.
    """

    def __init__(self, in_channels: int | Sequence[int], norm_cfg: Mapping | None = None, **keywords: Any) -> None:
        norm_cfg = norm_cfg or dict(type='SyncBN', requires_grad=True)
        channels = in_channels if isinstance(in_channels, int) else sum(in_channels)
        super().__init__(in_channels=in_channels, channels=channels, norm_cfg=norm_cfg,
                         **{'dropout_ratio': 0., **keywords})
        self.bn = build_norm_layer(norm_cfg, channels)[1]

    def forward(self, inputs: Sequence[Tensor]) -> Tensor:
        """Maps (B, C, H, W) -> logits (B, classes, H, W)."""
        return self.cls_seg(self.bn(self._transform_inputs(inputs)))
