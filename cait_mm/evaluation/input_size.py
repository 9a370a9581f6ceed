"""Label maps at the network's input size, as TransUNet and CASCADE take them."""

import torch
from mmengine.registry import MODELS
from mmseg.models.segmentors import EncoderDecoder
from mmseg.structures import SegDataSample
from scipy import ndimage
from torch import Tensor


@MODELS.register_module()
class InputSizeSegmentor(EncoderDecoder):
    """A segmentor whose classes are chosen at the input size; the label map is then zoomed to the picture's.

    As ``model.type`` it gives the label maps of TransUNet's and CASCADE's ``test_single_volume``: the arg-max at
    224x224, then SciPy's ``zoom`` of order 0, whose corners lie on corners. MMSegmentation resizes the logits first,
    which draws smoother borders. ``seg_logits`` stay as MMSegmentation gives them. Arguments as there.
    """

    def postprocess_result(self, seg_logits: Tensor,
                           data_samples: list[SegDataSample] | None = None) -> list[SegDataSample]:
        """Logits (B, C, H, W) of the padded inputs -> predictions of the pictures' sizes."""
        predictions = super().postprocess_result(seg_logits, data_samples)
        if data_samples is None:
            return predictions
        inputs = [SegDataSample(metainfo=dict(sample.metainfo, ori_shape=sample.img_shape)) for sample in predictions]
        for sample, small in zip(predictions, super().postprocess_result(seg_logits, inputs)):
            labels = small.pred_sem_seg.data[0]
            factors = [whole / side for whole, side in zip(sample.ori_shape, labels.shape)]
            zoomed = ndimage.zoom(labels.cpu().numpy(), factors, order=0)
            sample.pred_sem_seg.data = torch.from_numpy(zoomed)[None].to(labels)
        return predictions
