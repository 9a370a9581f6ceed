"""Mask2Former in mixed precision and in sliding windows.

Under autocast the backbone and the transformer decoder run in fp16 or bf16. Parts that overflow or have no kernel in 16
bits stays in fp32, as its authors train it: MMCV's deformable attention has no bf16 kernel on a GPU, and MMDetection's
matching sums thousands of points in fp16, where 65504 is the end, so the matrix that the assignment gets is infinite.
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
    """MMDetection's pixel decoder, in fp32 whatever autocast says. Arguments as there."""

    def forward(self, feats: Sequence[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """Maps of the backbone's strides, finest first, to the mask features and the decoder's maps, in fp32."""
        with torch.autocast(feats[0].device.type, enabled=False):
            return super().forward([feat.float() for feat in feats])


@MODELS.register_module()
class MixedMask2FormerHead(Mask2FormerHead):
    """MMSegmentation's head with matching and losses in fp32 whatever autocast says, and with sliding windows.

    Arguments as there.
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

        MMSegmentation resizes masks to ``pad_shape``, which is the whole image's. Its sliding window notes the size of
        the window in ``img_shape`` of the first image.
        """
        if test_cfg.get('mode') == 'slide':
            window = batch_img_metas[0]['img_shape']
            batch_img_metas = [{**meta, 'pad_shape': window} for meta in batch_img_metas]
        return super().predict(x, batch_img_metas, test_cfg)
