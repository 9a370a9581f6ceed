"""Test-time augmentation of instance segmentation, which MMDetection lacks: masks are merged with their boxes."""
from collections.abc import Sequence

import torch
from mmcv.ops import batched_nms
from mmdet.models.test_time_augs import DetTTAModel
from mmdet.structures import DetDataSample
from mmengine.registry import MODELS
from mmengine.structures import InstanceData


@MODELS.register_module()
class InstanceTTAModel(DetTTAModel):
    """MMDetection's merging of detections, extended to masks: a box that survives NMS keeps its mask.

    Masks have the size of the picture, so those of flipped views only have to be flipped back.

    Args:
        tta_cfg: ``nms`` and ``max_per_img``.
        **keywords: As ``mmengine.model.BaseTTAModel``.
    """

    def _merge_single_sample(self, data_samples: Sequence[DetDataSample]) -> DetDataSample:
        views, merged = [sample.pred_instances for sample in data_samples], data_samples[0]
        boxes, scores = self.merge_aug_bboxes([item.bboxes for item in views], [item.scores for item in views],
                                              [sample.metainfo for sample in data_samples])
        labels = torch.cat([item.labels for item in views])
        kept = torch.arange(0)
        if len(boxes):  # MMCV's NMS wants one at least
            kept = batched_nms(boxes, scores, labels, self.tta_cfg['nms'])[1][:self.tta_cfg['max_per_img']]
        result = InstanceData(bboxes=boxes[kept], scores=scores[kept], labels=labels[kept])
        if 'masks' in views[0]:
            result.masks = torch.cat([turned_back(sample) for sample in data_samples])[kept]
        merged.pred_instances = result
        return merged


def turned_back(sample: DetDataSample) -> torch.Tensor:
    """The masks (n, H, W) of a view, flipped back to the picture."""
    masks = torch.as_tensor(sample.pred_instances.masks)
    axes = {'horizontal': [-1], 'vertical': [-2], 'diagonal': [-2, -1]}
    return masks.flip(axes[sample.flip_direction]) if sample.flip else masks
