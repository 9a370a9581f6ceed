"""Test-time augmentation of segmentors, heads of one channel included, where MMSegmentation takes a sigmoid twice."""
from collections.abc import Sequence
from itertools import chain

from mmengine.registry import MODELS
from mmseg.models.segmentors import SegTTAModel
from mmseg.structures import SegDataSample


@MODELS.register_module()
class SegmentorTTAModel(SegTTAModel):
    """MMSegmentation's merging of views. Heads of one channel predict probabilities already, which its second
    sigmoid would lift above every threshold; they are made logits again before. Arguments as there.
    """

    def merge_preds(self, data_samples_list: Sequence[list[SegDataSample]]) -> list[SegDataSample]:
        """The views of every picture, merged into one prediction each."""
        if self.module.out_channels == 1:
            for sample in chain(*data_samples_list):
                sample.seg_logits.data = sample.seg_logits.data.logit()
        return super().merge_preds(data_samples_list)
