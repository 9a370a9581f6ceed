"""Labels chosen at the input size, against TransUNet's and CASCADE's lines."""
import pytest
import torch
from conftest import ROOT
from scipy.ndimage import zoom

pytest.importorskip('mmseg')
from mmseg.structures import SegDataSample  # noqa: E402

from cait_mm.config.load import load_config  # noqa: E402
from cait_mm.tasks import build_model  # noqa: E402


@pytest.fixture(scope='module')
def segmentors():
    """The ACDC sibling with either ``model.type``, as ``--cfg-options`` sets it."""
    config = load_config(str(ROOT / 'configs/small/cascade_decoder_deit_t_acdc.py'))
    config.model.backbone.pop('init_cfg')
    usual = build_model(config).eval()
    config.model.type = 'cait_mm.evaluation.input_size.InputSizeSegmentor'
    return usual, build_model(config).eval()


@pytest.mark.parametrize('size', [(90, 73), (32, 32), (20, 40)])
@pytest.mark.parametrize('flip', [None, 'horizontal', 'vertical'])
def test_labels_are_chosen_first_and_zoomed_then(segmentors, size, flip):
    """utils/utils.py of CASCADE (commit d3f050a): arg-max of the outputs, then ``zoom(out, factors, order=0)``."""
    logits = torch.nn.functional.interpolate(torch.randn(2, 4, 5, 5), size=(32, 32), mode='bilinear')
    meta = dict(ori_shape=size, img_shape=(32, 32), flip=flip is not None, flip_direction=flip)
    predictions = []
    for model in segmentors:
        samples = [SegDataSample(metainfo=meta) for _ in logits]
        predictions.append(model.postprocess_result(logits, samples))
        assert predictions[-1][0] is samples[0] and samples[0].ori_shape == size
    usual, ours = predictions
    turned = logits.flip({'horizontal': 3, 'vertical': 2}[flip]) if flip else logits
    for index, labels in enumerate(turned.argmax(1)):
        expected = torch.from_numpy(zoom(labels.numpy(), (size[0] / 32, size[1] / 32), order=0))
        assert torch.equal(ours[index].pred_sem_seg.data[0], expected)
        assert torch.equal(ours[index].seg_logits.data, usual[index].seg_logits.data)
        assert torch.equal(usual[index].pred_sem_seg.data, ours[index].pred_sem_seg.data) == (size == (32, 32))


def test_padding_is_cut_away(segmentors):
    logits = torch.randn(1, 4, 32, 32)
    meta = dict(ori_shape=(50, 40), img_shape=(30, 24), img_padding_size=[0, 8, 0, 2])
    sample, = segmentors[1].postprocess_result(logits, [SegDataSample(metainfo=meta)])
    expected = zoom(logits[0, :, :30, :24].argmax(0).numpy(), (50 / 30, 40 / 24), order=0)
    assert sample.pred_sem_seg.data[0].tolist() == expected.tolist()


def test_without_samples_it_predicts_as_usual(segmentors):
    logits = torch.randn(1, 4, 8, 8)
    usual, ours = (model.postprocess_result(logits)[0].pred_sem_seg.data for model in segmentors)
    assert torch.equal(usual, ours)
