"""Label maps chosen at the input size of the network, as in TransUNet and CASCADE."""

import torch
from mmengine.registry import MODELS
from mmseg.models.segmentors import EncoderDecoder
from mmseg.structures import SegDataSample
from scipy import ndimage
from torch import Tensor


@MODELS.register_module()
class InputSizeSegmentor(EncoderDecoder):
    """A segmentor that chooses classes at the input size and then zooms the label map to the size of the picture.

    As ``model.type`` it gives the label maps of ``test_single_volume`` in TransUNet and CASCADE: the arg-max at
    224x224, then SciPy's ``zoom`` of order 0, which aligns corners. MMSegmentation resizes the logits first, which
    gives smoother borders. ``seg_logits`` are those of MMSegmentation, and so are the arguments.
    """

    def postprocess_result(self, seg_logits: Tensor,
                           data_samples: list[SegDataSample] | None = None) -> list[SegDataSample]:
        """Logits (B, C, H, W) of the padded inputs -> predictions at the sizes of the pictures."""
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
