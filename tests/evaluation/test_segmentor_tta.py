from types import SimpleNamespace

import pytest
import torch
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample

from cait_mm.evaluation.segmentor_tta import SegmentorTTAModel


class Merging(SegmentorTTAModel):
    def __init__(self, channels):
        torch.nn.Module.__init__(self)
        object.__setattr__(self, 'module', SimpleNamespace(out_channels=channels,
                                                           decode_head=SimpleNamespace(threshold=0.5)))


def view(values):
    sample = SegDataSample(metainfo=dict(img_path='a.png'))
    sample.seg_logits = PixelData(data=values)
    return sample


@pytest.mark.parametrize('first, second, expected', [(-8., -8., 0), (8., 8., 1), (8., -6., 1), (-8., 6., 0)])
def test_one_channel_is_the_mean_of_the_probabilities(first, second, expected):
    views = [view(torch.full((1, 4, 6), value).sigmoid()) for value in (first, second)]
    merged = Merging(1).merge_preds([views])
    assert torch.equal(merged[0].pred_sem_seg.data, torch.full((1, 4, 6), float(expected)))


def test_several_channels_are_as_in_mmseg():
    views = [view(torch.randn(3, 4, 6)) for _ in range(2)]
    expected = torch.stack([item.seg_logits.data.softmax(0) for item in views]).mean(0).argmax(0)
    assert torch.equal(Merging(3).merge_preds([views])[0].pred_sem_seg.data.squeeze(), expected)
