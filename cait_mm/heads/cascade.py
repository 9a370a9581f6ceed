"""CASCADE's decoder: attention gates on the skips, channel and spatial attention, four predictions that are summed."""
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from mmcv.cnn import ConvModule
from mmengine.registry import MODELS
from mmseg.models.decode_heads.decode_head import BaseDecodeHead
from torch import Tensor, nn
from torch.nn import functional

from cait_mm.errors import UserError


class AttentionGate(nn.Module):
    """Weigh each pixel of a skip map by the decoder's map: ``x * sigmoid(psi(relu(W_g g + W_x x)))``.

    Both maps are (B, C, H, W); the weight is (B, 1, H, W), from ``hidden`` channels.
    """

    def __init__(self, channels: int, hidden: int, norm_cfg: Mapping) -> None:
        super().__init__()
        self.from_decoder = ConvModule(channels, hidden, 1, norm_cfg=norm_cfg, act_cfg=None)
        self.from_skip = ConvModule(channels, hidden, 1, norm_cfg=norm_cfg, act_cfg=None)
        self.weight = ConvModule(hidden, 1, 1, norm_cfg=norm_cfg, act_cfg=dict(type='Sigmoid'))

    def forward(self, decoded: Tensor, skip: Tensor) -> Tensor:
        return skip * self.weight(functional.relu(self.from_decoder(decoded) + self.from_skip(skip)))


class ChannelAttention(nn.Module):
    """Weigh channels by an MLP of their mean and maximum over the map (CBAM); ``channels // 16`` inside."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = max(channels // 16, 1)
        self.mlp = nn.Sequential(
            nn.Conv2d(channels, hidden, 1, bias=False), nn.ReLU(), nn.Conv2d(hidden, channels, 1, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        mean, peak = x.mean((2, 3), keepdim=True), x.amax((2, 3), keepdim=True)
        return x * torch.sigmoid(self.mlp(mean) + self.mlp(peak))


class SpatialAttention(nn.Module):
    """Weigh pixels by a 7x7 convolution of the mean and maximum over their channels (CBAM)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 1, 7, padding=3, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(self.conv(torch.cat([x.mean(1, keepdim=True), x.amax(1, keepdim=True)], 1)))


@MODELS.register_module()
class CascadeHead(BaseDecodeHead):
    """CASCADE's decoder (Rahman and Marculescu, WACV 2023), which the paper puts on its backbones (section IV-B3).

    From the coarsest map to the finest: upsample by two and convolve, gate the skip map, concatenate, attend to
    channels and pixels (CAM), convolve twice. Each of the four decoded maps has a 1x1 prediction; training adds their
    losses, prediction adds their logits at the image's size. Upsampling goes to the skip map's size, so odd maps work.

    Args:
        in_channels: Channels of the four maps, 1/4 to 1/32 of the image.
        widths: Channels of the decoder at these scales; None keeps ``in_channels``, as CASCADE does on a hierarchical
            backbone. A map of another width gets a 1x1 convolution first. The maps of a plain ViT are all equally wide,
            and at 1/4 that would cost more than the backbone, so configs give the widths of CASCADE's backbone.
        norm_cfg: None is ``SyncBN``, which MMEngine turns into BN if one process trains.
        **keywords: As :class:`mmseg.models.decode_heads.decode_head.BaseDecodeHead`, ``num_classes`` at least. For one
            foreground class take ``num_classes=2, out_channels=1, threshold=0.5`` and losses of a sigmoid.

    Raises:
        UserError: There are not four maps and four widths.
    """

    def __init__(self,
                 in_channels: Sequence[int],
                 widths: Sequence[int] | None = None,
                 norm_cfg: Mapping | None = None,
                 **keywords: Any) -> None:
        widths = list(widths or in_channels)
        if len(in_channels) != 4 or len(widths) != 4:
            raise UserError(f'CascadeHead in_channels={list(in_channels)}, widths={widths}: give four of each, from '
                            '1/4 to 1/32 of the image.')
        norm_cfg = norm_cfg or dict(type='SyncBN', requires_grad=True)
        defaults = dict(in_index=[0, 1, 2, 3], input_transform='multiple_select', dropout_ratio=0., channels=widths[0])
        super().__init__(in_channels=in_channels, norm_cfg=norm_cfg, **{**defaults, **keywords})
        # CASCADE has a 1x1 convolution on the coarsest map whatever its width
        self.lateral = nn.ModuleList(
            nn.Identity() if have == width and scale < 3 else nn.Conv2d(have, width, 1)
            for scale, (have, width) in enumerate(zip(in_channels, widths)))
        self.up = nn.ModuleList(self._conv(coarse, fine) for fine, coarse in zip(widths, widths[1:]))
        # the width inside a gate is that of the next finer scale, or half at the finest (64 -> 32 in CASCADE)
        hidden = [max(widths[0] // 2, 1), *widths[:2]]
        self.gate = nn.ModuleList(AttentionGate(width, inside, norm_cfg) for width, inside in zip(widths, hidden))
        joined = [2 * width for width in widths[:3]] + widths[3:]
        self.channel_attention = nn.ModuleList(ChannelAttention(width) for width in joined)
        self.spatial_attention = SpatialAttention()  # one for all scales, as in CASCADE's code
        self.blocks = nn.ModuleList(
            nn.Sequential(self._conv(before, width), self._conv(width, width)) for before, width in zip(joined, widths))
        # self.conv_seg predicts from the finest map
        self.coarse_seg = nn.ModuleList(nn.Conv2d(width, self.out_channels, 1) for width in widths[1:])

    def _conv(self, before: int, after: int) -> nn.Module:
        return ConvModule(before, after, 3, padding=1, norm_cfg=self.norm_cfg, act_cfg=self.act_cfg)

    def decode(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        """Maps (B, C_i, H_i, W_i) of the backbone or neck -> the four decoded maps (B, width_i, H_i, W_i)."""
        skips = [lateral(x) for lateral, x in zip(self.lateral, self._transform_inputs(inputs))]
        decoded: list[Tensor] = []
        for scale in (3, 2, 1, 0):
            x = skips[scale]
            if decoded:
                up = self.up[scale](functional.interpolate(decoded[0], x.shape[2:]))
                x = torch.cat([self.gate[scale](up, x), up], 1)
            x = self.spatial_attention(self.channel_attention[scale](x))
            decoded.insert(0, self.blocks[scale](x))
        return decoded

    def forward(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        """Maps (B, C_i, H_i, W_i) -> logits (B, out_channels, H_i, W_i) of the four predictions, finest first."""
        finest, *coarse = self.decode(inputs)
        return [self.cls_seg(finest), *(head(x) for head, x in zip(self.coarse_seg, coarse))]

    def loss_by_feat(self, seg_logits: Sequence[Tensor], batch_data_samples: list) -> dict[str, Tensor]:
        """Every loss summed over the four predictions; ``acc_seg`` of the finest one if there are several channels."""
        parts = [super(CascadeHead, self).loss_by_feat(logits, batch_data_samples) for logits in seg_logits]
        losses = {name: sum(part[name] for part in parts) for name in parts[0] if name != 'acc_seg'}
        # MMSeg's accuracy takes the arg-max, which is meaningless for a single channel
        return losses if self.out_channels == 1 else {**losses, 'acc_seg': parts[0]['acc_seg']}

    def predict_by_feat(self, seg_logits: Sequence[Tensor], batch_img_metas: list[dict]) -> Tensor:
        """The sum of the four predictions, each resized to the image (B, out_channels, H, W)."""
        return sum(super(CascadeHead, self).predict_by_feat(logits, batch_img_metas) for logits in seg_logits)
