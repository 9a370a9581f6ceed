"""Predictions for a picture are those of the libraries' own functions."""
import numpy as np
import pytest
import torch
from PIL import Image
from tiny_runs import make_data, trained

from cait_mm.config.load import load_config
from cait_mm.datasets.build import build_dataset
from cait_mm.demo.page import look, require_alike
from cait_mm.demo.predictor import load_predictor, spread_colours
from cait_mm.errors import UserError

KINDS = {'segmentor': 10, 'detector': 5, 'classifier': 8}
"""Numbers of classes."""


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    return make_data(tmp_path_factory.mktemp('demo'))


@pytest.fixture(scope='module')
def models(data, tmp_path_factory):
    """Config and checkpoint of a model of every kind."""
    folder = tmp_path_factory.mktemp('models')
    return {kind: tuple(map(str, trained(data, folder, kind, classes))) for kind, classes in KINDS.items()}


@pytest.fixture
def picture(data) -> str:
    return str(sorted((data / 'scenes/images/validation').iterdir())[0])


@torch.no_grad()
def predicted(model: tuple[str, str], picture: str):
    predictor = load_predictor(*model, 'it')
    return predictor, predictor.seen(predictor.model.test_step(predictor.inputs(picture)))


def test_a_segmentor_sees_what_mmsegmentation_says(models, picture):
    from mmseg.apis import inference_model
    predictor, seen = predicted(models['segmentor'], picture)
    predictor.model.cfg = load_config(models['segmentor'][0])
    predictor.model.cfg.test_pipeline = predictor.model.cfg.test_dataloader.dataset.pipeline
    wanted = inference_model(predictor.model, picture).pred_sem_seg.data[0].numpy()
    np.testing.assert_array_equal(seen, wanted)
    assert len(np.unique(seen)) > 1


def test_a_detector_sees_what_mmdetection_says(models, picture, monkeypatch):
    from mmdet.apis import inference_detector
    monkeypatch.setattr('cait_mm.analysis.boxes.LEAST_SCORE', 0.)
    predictor, seen = predicted(models['detector'], picture)
    predictor.model.cfg = load_config(models['detector'][0])
    wanted = inference_detector(predictor.model, picture).pred_instances
    assert len(wanted) and torch.equal(seen.corners, wanted.bboxes) and torch.equal(seen.labels, wanted.labels)
    monkeypatch.setattr('cait_mm.analysis.boxes.LEAST_SCORE', float(wanted.scores.median()))
    assert len(predicted(models['detector'], picture)[1].labels) == (wanted.scores >= wanted.scores.median()).sum()


def test_a_classifier_sees_what_its_test_sees(models):
    config = load_config(models['classifier'][0])
    dataset = build_dataset({**config.val_dataloader.dataset, 'transform': config.test_dataloader.dataset.transform},
                            config)
    predictor, seen = predicted(models['classifier'], dataset.samples[3][0])
    with torch.no_grad():
        wanted = predictor.model(dataset[3]['inputs'][None]).softmax(-1)[0]
    torch.testing.assert_close(seen, wanted)
    assert abs(float(seen.sum()) - 1) < 1e-5


@pytest.mark.parametrize('kind', KINDS)
def test_names_and_colours_come_from_the_checkpoint(models, kind):
    predictor = load_predictor(*models[kind], 'it')
    assert predictor.kind == kind and predictor.classes == list('abcdefghij'[:KINDS[kind]])
    assert predictor.colours[0] == (1, 2, 3)
    assert len(set(spread_colours(150))) == 150


@pytest.mark.parametrize('kind', KINDS)
def test_two_models_are_compared_and_timed(models, picture, kind):
    dense, other = (load_predictor(*models[kind], name) for name in ('dense', 'other'))
    with torch.no_grad():
        for parameter in other.model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    times, first, second, words, apart = look([dense, other], picture)
    assert '| dense |' in times and '| other |' in times and ' ms |' in times and '1.00x' in times
    assert (apart is None) == (kind == 'classifier') and words
    if kind == 'classifier':
        assert set(first) == set(dense.classes) and '| | dense | other | change |' in words
    else:
        width = Image.open(picture).width
        image, areas = first
        assert image.shape[1] % width == 0 and image.shape[1] >= 480
        assert all(np.shape(area) in (image.shape[:2], (4, )) for area, _ in [*areas, *apart[1]])
    if kind == 'segmentor':
        assert {name for _, name in areas} <= set(dense.classes)
        whole = sum(area > 0 for area, _ in areas)
        assert whole.min() == whole.max() == 1, 'every pixel has one class'
    same = look([dense, load_predictor(*models[kind], 'again')], picture)[3]
    assert {'segmentor': '0.0% of the pixels differ', 'detector': '0 by dense alone',
            'classifier': 'the same; 0.0%'}[kind] in same


def test_a_photo_is_scaled_to_what_the_model_was_trained_for(models, tmp_path):
    predictor = load_predictor(*models['segmentor'], 'it')
    Image.new('RGB', (1200, 600)).save(tmp_path / 'large.png')
    size = predictor.fitting_picture(str(tmp_path / 'large.png')).size
    resizes = 'Resize' in str(load_config(models['segmentor'][0]).test_dataloader.dataset.pipeline)
    assert size == ((1200, 600) if resizes else (181, 91))


def test_models_that_cannot_be_compared_are_a_sentence(models):
    segmentor, detector = (load_predictor(*models[kind], kind) for kind in ('segmentor', 'detector'))
    with pytest.raises(UserError, match='segmentor is a segmentor and detector a detector'):
        require_alike([segmentor, detector])
    other = load_predictor(*models['segmentor'], 'other')
    other.classes = ['x', *other.classes[1:]]
    with pytest.raises(UserError, match='know different classes'):
        require_alike([segmentor, other])


def test_a_broken_picture_and_foreign_weights_are_a_sentence(models, tmp_path):
    (tmp_path / 'broken.png').write_bytes(b'\x89PNG\r\n\x1a\n and no more')
    predictor = load_predictor(*models['segmentor'], 'it')
    with pytest.raises(UserError, match='broken.png'):
        look([predictor], str(tmp_path / 'broken.png'))
    with pytest.raises(UserError, match='does not fit'):
        load_predictor(models['segmentor'][0], models['detector'][1], 'it')
