"""Everything that takes a config and a checkpoint takes the folder of a compressed segmentor or detector."""
import json
from pathlib import Path

import pytest
import torch
from tiny_runs import make_data, trained

from cait_mm.compression.model import compress_model

CLASSES = dict(segmentor=10, detector=5)
TESTED = dict(segmentor='test_dataloader = val_dataloader\n',
              detector='test_dataloader, test_evaluator = val_dataloader, val_evaluator\n')


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    return make_data(tmp_path_factory.mktemp('folders'))


@pytest.fixture(scope='module')
def folders(data):
    """Name of a task -> its dense config and the folder of its compressed model."""
    made = {}
    for kind, classes in CLASSES.items():
        config, checkpoint = trained(data, data, kind, classes)
        config.write_text(config.read_text() + TESTED[kind])
        compress_model(str(config), str(checkpoint), None, 0.4, num_images=4, pad_to=4).save(data / f'{kind}_small')
        made[kind] = config, data / f'{kind}_small'
    return made


def words(folder: Path) -> tuple[Path, Path]:
    return folder / 'config.py', folder / 'model.pth'


@pytest.mark.parametrize('kind,metric', [('segmentor', 'mIoU'), ('detector', 'coco/segm_mAP')])
def test_it_is_evaluated(tool, folders, tmp_path, kind, metric):
    status, out, err = tool('test.py', *words(folders[kind][1]), '--work-dir', tmp_path)
    assert status == 0 and metric in out, err


def test_the_inferencers_take_it(data, folders, monkeypatch, tmp_path):
    from mmdet.apis import DetInferencer
    from mmseg.apis import MMSegInferencer
    monkeypatch.chdir(tmp_path)
    image = str(next((data / 'scenes/images/validation').iterdir()))
    config, model = map(str, words(folders['segmentor'][1]))
    inferencer = MMSegInferencer(model=config, weights=model, device='cpu')
    assert inferencer(image)['predictions'].shape == (64, 64)
    assert list(inferencer.model.dataset_meta['classes']) == list('abcdefghij')
    assert inferencer.model.backbone.spec.is_pruned and inferencer.model.backbone.restore_mode == 'residual_linear'
    config, model = map(str, words(folders['detector'][1]))
    inferencer = DetInferencer(model=config, weights=model, device='cpu', show_progress=False)
    assert set(inferencer(image)['predictions'][0]) == {'labels', 'scores', 'bboxes', 'masks'}
    weights = torch.load(model)['state_dict']
    assert all(torch.equal(value, weights[name]) for name, value in inferencer.model.state_dict().items())


@pytest.mark.parametrize('kind', CLASSES)
def test_it_is_timed_against_the_dense_model(tool, folders, tmp_path, kind):
    dense, folder = folders[kind]
    result = json.loads((folder / 'result.json').read_text())
    status, _, err = tool('benchmark.py', folder / 'config.py', '--against', dense, '--shape', *result['img_size'],
                          '--rounds', 1, '--parts', 'backbone', '--device', 'cpu', '--json', tmp_path / 'speed.json')
    assert status == 0, err
    models = json.loads((tmp_path / 'speed.json').read_text())['models']
    macs = [models[str(path)]['backbone']['macs'] for path in (dense, folder / 'config.py')]
    assert macs == [result[name]['backbone']['macs'] for name in ('dense', 'small')] and macs[1] < 0.7 * macs[0]


@pytest.mark.parametrize('kind,part', [('segmentor', 'whole'), ('detector', 'backbone')])
def test_it_is_exported(tool, folders, tmp_path, kind, part):
    status, text, err = tool('export.py', *words(folders[kind][1]), '--shape', 64, 64, '--part', part, '--format',
                             'torch-export', '--out', tmp_path / 'model.pt2')
    assert status == 0 and 'differs from PyTorch' in text and (tmp_path / 'model.pt2').is_file(), err


@pytest.mark.parametrize('kind', CLASSES)
def test_it_is_trained_further_with_labels(tool, folders, tmp_path, kind):
    config, model = words(folders[kind][1])
    length = 'train_cfg.max_iters=1' if kind == 'segmentor' else 'train_cfg.max_epochs=1'
    status, _, err = tool('train.py', config, '--work-dir', tmp_path, '--json', tmp_path / 'r.json', '--cfg-options',
                          f'load_from={model}', length, 'train_cfg.val_begin=9', 'train_dataloader.num_workers=0',
                          'train_dataloader.persistent_workers=False', 'optim_wrapper.optimizer.lr=1e-9',
                          'default_hooks.checkpoint.interval=1')
    assert status == 0, err
    path = json.loads((tmp_path / 'r.json').read_text())['checkpoint']
    start, after = (torch.load(file, weights_only=False)['state_dict'] for file in (model, path))
    assert start.keys() == after.keys()
    assert all(torch.allclose(after[name], value, atol=1e-6) for name, value in start.items() if 'running' not in name
               and 'batches' not in name), 'the run began with the compressed weights'
