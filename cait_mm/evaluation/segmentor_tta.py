"""Test-time augmentation of segmentors that is also right for heads of one channel."""
from collections.abc import Sequence
from itertools import chain

from mmengine.registry import MODELS
from mmseg.models.segmentors import SegTTAModel
from mmseg.structures import SegDataSample


@MODELS.register_module()
class SegmentorTTAModel(SegTTAModel):
    """MMSegmentation's merging of views, with its arguments. It applies a sigmoid to the predictions of a head of one
    channel, which are probabilities already, and so lifts them above every threshold. Here they become logits first.
    """

    def merge_preds(self, data_samples_list: Sequence[list[SegDataSample]]) -> list[SegDataSample]:
        """The views of every picture, merged into one prediction each."""
        if self.module.out_channels == 1:
            for sample in chain(*data_samples_list):
                sample.seg_logits.data = sample.seg_logits.data.logit()
        return super().merge_preds(data_samples_list)
