"""Mask2Former in mixed precision and in sliding windows.

Under autocast the backbone and the transformer decoder run in fp16 or bf16. Parts that overflow or have no kernel in 16
bits stay in fp32, as in the authors' training: MMCV's deformable attention has no bf16 kernel on a GPU, and
MMDetection's matching sums thousands of points, which overflows fp16 (65504) and makes the cost matrix infinite.
"""
from collections.abc import Sequence

import torch
from mmdet.models.layers import MSDeformAttnPixelDecoder
from mmengine.registry import MODELS
from mmengine.structures import InstanceData
from mmseg.models.decode_heads import Mask2FormerHead
from mmseg.utils import ConfigType
from torch import Tensor


@MODELS.register_module()
class FP32PixelDecoder(MSDeformAttnPixelDecoder):
    """MMDetection's pixel decoder with its arguments, in fp32 also under autocast."""

    def forward(self, feats: Sequence[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """Maps of the backbone, finest first -> the mask features and the maps of the decoder, in fp32."""
        with torch.autocast(feats[0].device.type, enabled=False):
            return super().forward([feat.float() for feat in feats])


@MODELS.register_module()
class MixedMask2FormerHead(Mask2FormerHead):
    """MMSegmentation's head with matching and losses in fp32, also under autocast, and with sliding windows.

    The arguments are the same.
    """

    def loss_by_feat(self, all_cls_scores: Sequence[Tensor], all_mask_preds: Sequence[Tensor],
                     batch_gt_instances: list[InstanceData], batch_img_metas: list[dict]) -> dict[str, Tensor]:
        """Losses of all decoder layers: class scores (B, queries, classes + 1) and masks (B, queries, h, w) of each."""
        with torch.autocast(all_mask_preds[0].device.type, enabled=False):
            return super().loss_by_feat([scores.float() for scores in all_cls_scores],
                                        [masks.float() for masks in all_mask_preds], batch_gt_instances,
                                        batch_img_metas)

    def predict(self, x: tuple[Tensor], batch_img_metas: list[dict], test_cfg: ConfigType) -> Tensor:
        """Scores (B, classes, H, W) of an image, or with ``test_cfg.mode='slide'`` of a window.

        MMSegmentation resizes masks to ``pad_shape``, which is that of the whole image. With a sliding window,
        ``img_shape`` of the first image is the size of the window.
        """
        if test_cfg.get('mode') == 'slide':
            window = batch_img_metas[0]['img_shape']
            batch_img_metas = [{**meta, 'pad_shape': window} for meta in batch_img_metas]
        return super().predict(x, batch_img_metas, test_cfg)
