import torch
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData
from torch import nn

from cait_mm.evaluation.instance_tta import InstanceTTAModel


class Module(nn.Module):
    def test_step(self, data):
        return data


def view(masks, scores, direction=None):
    """Detections of a picture of 8 x 10 in a view that is flipped along ``direction``."""
    axes = {None: [], 'horizontal': [-1], 'vertical': [-2], 'diagonal': [-2, -1]}[direction]
    masks = masks.flip(axes) if axes else masks
    boxes = []
    for mask in masks:
        rows, columns = torch.where(mask)
        boxes.append([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
    sample = DetDataSample(metainfo=dict(ori_shape=(8, 10), flip=direction is not None, flip_direction=direction))
    sample.pred_instances = InstanceData(bboxes=torch.tensor(boxes, dtype=torch.float32), scores=torch.tensor(scores),
                                         labels=torch.zeros(len(scores), dtype=torch.long), masks=masks)
    return sample


def test_boxes_that_survive_keep_their_masks():
    masks = torch.zeros(2, 8, 10, dtype=torch.bool)
    masks[0, 1:4, 1:3], masks[1, 5:8, 6:10] = True, True
    model = InstanceTTAModel(module=Module(), tta_cfg=dict(nms=dict(type='nms', iou_threshold=0.5), max_per_img=10))
    for direction in ('horizontal', 'vertical', 'diagonal'):
        merged, = model.merge_preds([[view(masks[:1], [0.6]), view(masks, [0.9, 0.7], direction)]])
        assert merged.pred_instances.scores.tolist() == torch.tensor([0.9, 0.7]).tolist()
        assert torch.equal(merged.pred_instances.masks, masks)
        assert torch.equal(merged.pred_instances.bboxes, view(masks, [0.9, 0.7]).pred_instances.bboxes)


def test_the_most_are_kept_and_none_is_fine():
    masks = torch.zeros(2, 8, 10, dtype=torch.bool)
    masks[0, 1:4, 1:3], masks[1, 5:8, 6:10] = True, True
    model = InstanceTTAModel(module=Module(), tta_cfg=dict(nms=dict(type='nms', iou_threshold=0.5), max_per_img=1))
    merged, = model.merge_preds([[view(masks, [0.6, 0.8]), view(masks, [0.5, 0.7], 'horizontal')]])
    assert torch.equal(merged.pred_instances.masks, masks[1:])
    empty = view(masks, [0.6, 0.8])
    empty.pred_instances = empty.pred_instances[empty.pred_instances.scores > 1]
    merged, = model.merge_preds([[empty, empty]])
    assert len(merged.pred_instances) == 0 and merged.pred_instances.masks.shape == (0, 8, 10)
