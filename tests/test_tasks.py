"""Counting and timing a detector covers all that a prediction computes."""
import pytest
import torch
from conftest import CONFIGS

from cait_mm.analysis.flops import count_macs
from cait_mm.tasks import Overall, load_model


@pytest.mark.parametrize('name', ['mask_rcnn_atme_deit_t_coco', 'cascade_mask_rcnn_atme_swin_coco'])
def test_boxes_of_all_proposals_and_masks_of_all_that_may_be_returned(name):
    model = load_model(str(CONFIGS[name]))
    model.test_cfg.rpn.update(max_per_img=30)
    model.test_cfg.rcnn.update(max_per_img=5)
    image = torch.rand(1, 3, 128, 128)
    one, two = (count_macs(Overall(model), (image.expand(batch, -1, -1, -1),)) for batch in (1, 2))
    assert two[''] == 2 * one['']
    mask_head = one['model.roi_head.mask_head']
    model.test_cfg.rcnn.update(max_per_img=10)
    more = count_macs(Overall(model), (image,))
    assert more['model.roi_head.mask_head'] == 2 * mask_head
    assert more[''] - one[''] == mask_head
