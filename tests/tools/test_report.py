"""Reports that compressing writes, of every kind of model, and one that fails."""
import json

import pytest
import torch
from conftest import plain_classifier
from PIL import Image
from tiny_runs import make_data, trained

from cait_mm.report import page


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    return make_data(tmp_path_factory.mktemp('report'))


def compressed(tool, data, folder, kind, *more):
    torch.manual_seed(0)
    config, checkpoint = trained(data, folder, kind, classes=10 if kind == 'segmentor' else 5)
    out = folder / 'small'
    status, text, err = tool('compress.py', config, checkpoint, out, '--target', 0.3, '--num-images', 4, *more)
    assert status == 0, err
    return checkpoint, out, text


def test_a_segmentors_report_compares_it_with_the_dense_one_on_labels(tool, data, tmp_path):
    checkpoint, out, text = compressed(tool, data, tmp_path, 'segmentor')
    assert f'report: {out / "report.html"}' in text
    found, = page.read(out / 'report.html')
    assert found['missing'] == [] and found['kind'] == 'segmentor' and found['looked_at'] == 8
    assert found['quality'][0]['what'] == 'mIoU' and found['classes_against'] == 'the labels'
    result = json.loads((out / 'result.json').read_text())
    assert found['counts'] == {name: result[name] for name in ('dense', 'small')}
    facts = dict(found['facts']['Models'])
    assert facts['dense weights'] == str(checkpoint) and len(facts['dense weights, SHA-256']) == 64
    assert dict(found['facts']['This report'])['command'].startswith('python tools/compress.py ')
    assert (out / 'config.py').read_text() == found['texts']['config.py']


def test_a_detectors_report_counts_boxes(tool, data, tmp_path):
    _, out, _ = compressed(tool, data, tmp_path, 'detector')
    found, = page.read(out / 'report.html')
    assert found['kind'] == 'detector' and found['missing'] == []
    assert found['quality'][0]['what'].startswith('boxes of the dense model')


def test_a_folder_is_opened_again_with_and_without_the_dense_weights(tool, data, tmp_path):
    checkpoint, out, _ = compressed(tool, data, tmp_path, 'segmentor', '--no-report')
    assert not (out / 'report.html').exists()
    status, text, err = tool('report.py', out, '--num-images', 2)
    assert status == 0, err
    found, = page.read(out / 'report.html')
    assert found['missing'] == [f'{part}: the dense model\'s weights are not at hand'
                                for part in ('attention', 'predictions')] and found['speed']
    status, text, err = tool('report.py', out, '--num-images', 3, '--dense', checkpoint, '--images',
                             data / 'scenes' / 'images' / 'validation')
    assert status == 0, err
    found, = page.read(out / 'report.html')
    assert found['missing'] == [] and found['looked_at'] == 3 and found['classes_against'] == 'the dense model\'s map'


@pytest.fixture
def classifier(tmp_path):
    """A dense classifier's checkpoint, a config of it, and pictures."""
    dense = plain_classifier('deit', merge=())
    torch.save({'model': {name.removeprefix('backbone.'): value for name, value in dense.state_dict().items()}},
               tmp_path / 'dense.pth')
    arch = dict(embed_dim=24, depth=3, num_heads=3, img_size=(64, 64))
    (tmp_path / 'config.py').write_text("default_scope = 'mmseg'\ncustom_imports = dict(imports=['cait_mm'])\n"
                                        f"model = dict(backbone=dict(type='CAITDeiT', arch={arch}))\n")
    (tmp_path / 'images').mkdir()
    for index in range(8):
        Image.new('RGB', (70, 64), (30 * index, 255 - 30 * index, 90)).save(tmp_path / 'images' / f'{index}.png')
    return tmp_path


def words(folder, out='small.pth'):
    return [folder / 'config.py', folder / 'dense.pth', folder / out, '--target', 0.3, '--images', folder / 'images',
            '--num-images', 4]


def test_a_classifiers_report_is_beside_its_file(tool, classifier):
    status, text, err = tool('compress.py', *words(classifier))
    assert status == 0 and f'report: {classifier / "small.html"}' in text, err
    found, = page.read(classifier / 'small.html')
    assert found['missing'] == [] and found['looked_at'] == 4
    assert dict(found['facts']['Data'])['calibrated on'] == 'others of that folder'
    assert [row['what'] for row in found['quality']] == ['the same first guess as the dense model']
    assert tool('compress.py', *words(classifier, 'other.pth'))[0] == 0
    status, text, err = tool('report.py', classifier / 'small.pth', classifier / 'other.html', '--out',
                             classifier / 'both.html')
    assert status == 0, err
    assert [data['name'] for data in page.read(classifier / 'both.html')] == ['small.pth', 'other.pth']
    assert page.read(classifier / 'both.html')[0] == found, 'measured once'


def test_a_report_that_fails_loses_nothing(tool, classifier, monkeypatch):
    def fail(*words):
        raise RuntimeError('no ink')

    monkeypatch.setattr('cait_mm.report.page.render', fail)
    status, text, err = tool('compress.py', *words(classifier))
    assert status == 0 and 'no report was written (no ink)' in text and (classifier / 'small.pth').is_file(), err


def test_a_part_that_fails_takes_no_other_along(tool, classifier, monkeypatch):
    def fail(*words):
        raise ZeroDivisionError('no clock')

    monkeypatch.setattr('cait_mm.report.speed.compare', fail)
    assert tool('compress.py', *words(classifier))[0] == 0
    found, = page.read(classifier / 'small.html')
    assert found['missing'] == ['speed: no clock'] and found['pictures'] and 'speed' not in found
