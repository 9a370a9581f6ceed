"""Every medical config builds, takes one training and one prediction step, and is described like its twins."""
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import CONFIGS, DATA, real_data
from mmengine.config import Config
from mmengine.registry import DATASETS
from mmengine.runner import Runner

from cait_mm.analysis.modes import Mode
from cait_mm.analysis.training import random_batch
from cait_mm.config.load import load_config
from cait_mm.tasks import build_model

NAMES = sorted(name for name in CONFIGS if name.startswith('cascade_decoder_'))
FOLDERS = {'acdc': 'acdc_subset', 'polyp': 'cvc_clinicdb_subset'}
SIZE = (64, 64)


def read(name: str) -> Config:
    return load_config(str(CONFIGS[name]))


def real_batch(config: Config, folder):
    """Two real items through the config's own training pipeline, resized small."""
    dataset = config.train_dataloader.dataset
    dataset.data_root = str(folder)
    if folder.name == FOLDERS['polyp']:
        dataset.update(data_prefix=dict(img_path='images', seg_map_path='masks'),
                       ann_file='split_by_sequence.txt', split='train')
    for step in dataset.pipeline:
        for key in ('scale', 'crop_size'):
            if key in step:
                step[key] = SIZE
    with DATASETS.switch_scope_and_registry('mmseg') as registry:
        built = registry.build(dataset)
    items = [built[2], built[3]]
    return {key: [item[key] for item in items] for key in ('inputs', 'data_samples')}


@pytest.mark.parametrize('name', NAMES)
def test_config_trains_and_predicts_one_step(name):
    config = read(name)
    config.model.data_preprocessor.size = config.model.backbone.img_size = SIZE
    config.model.backbone.pop('init_cfg')
    model = build_model(config).train()
    model.init_weights()
    folder = DATA / FOLDERS.get(name.split('_')[-1], 'none')
    batch = real_batch(config, folder) if folder.exists() else random_batch(model, 2, SIZE, Mode())
    wrapper = Runner.build_optim_wrapper(SimpleNamespace(model=model), config.optim_wrapper)
    before = {key: value.clone() for key, value in model.named_parameters()}
    losses = model.train_step(batch, wrapper)
    assert all(torch.isfinite(value) for value in losses.values())
    still = [key for key, value in model.named_parameters() if torch.equal(before[key], value)]
    assert not [key for key in still if key.startswith(('decode_head', 'neck'))]
    assert len(still) < len(before) / 10, still
    with torch.no_grad():
        result = model.eval().test_step({key: value[:1] for key, value in batch.items()})[0]
    assert result.pred_sem_seg.data.shape == (1, *result.ori_shape)
    assert set(result.pred_sem_seg.data.unique().tolist()) <= set(range(config.model.decode_head.num_classes))


@pytest.mark.parametrize('data, classes, size', [('synapse', 9, 224), ('acdc', 4, 224), ('polyp', 2, 352)])
@pytest.mark.parametrize('family', ['deit_s', 'swin_t'])
def test_settings(data, classes, size, family):
    dense = read(f'cascade_decoder_{family}_{data}')
    assert dense.model.decode_head.num_classes == classes and tuple(dense.model.data_preprocessor.size) == (size, size)
    assert [tuple(step.scale) for step in dense.train_dataloader.dataset.pipeline if step.type == 'Resize'] == [
        (size, size)]
    optimizer = dense.optim_wrapper.optimizer
    assert (optimizer.type, optimizer.lr, optimizer.weight_decay) == ('AdamW', 1e-4, 1e-4)
    assert (dense.train_cfg.max_epochs, dense.train_dataloader.batch_size) == {
        'synapse': (150, 24), 'acdc': (150, 12), 'polyp': (100, 16)}[data]
    assert dense.auto_scale_lr.base_batch_size == dense.train_dataloader.batch_size
    assert any(hook.type == 'SubjectSplitHook' for hook in dense.custom_hooks)
    if family == 'deit_s':
        assert tuple(dense.model.backbone.img_size) == (size, size)


@pytest.mark.parametrize('name', ['cascade_decoder_deit_t_acdc', 'cascade_decoder_deit_t_polyp'])
def test_small_config_trains_evaluates_and_draws_real_data(tool, tmp_path, name, deit_tiny):
    """One epoch of four items, then a volume or some frames, through the tools: the commands of docs/tasks.md."""
    data = name.split('_')[-1]
    root = real_data(FOLDERS[data])
    loaders = [f'{loader}_dataloader.dataset.{key}' for loader in ('train', 'val', 'test')
               for key in (f'data_root={root}', f'indices={4 if loader == "train" else 11 if data == "acdc" else 4}')]
    words = [CONFIGS[name], '--work-dir', tmp_path / 'run', '--cfg-options', *loaders, 'train_cfg.max_epochs=1',
             'train_cfg.val_interval=1', 'train_dataloader.batch_size=2', 'default_hooks.checkpoint.interval=1',
             f'model.backbone.init_cfg.checkpoint={deit_tiny}',
             *(f'{loader}_dataloader.{key}' for loader in ('train', 'val', 'test')
               for key in ('num_workers=0', 'persistent_workers=False'))]
    status, _, err = tool('train.py', *words, '--json', tmp_path / 'train.json')
    assert status == 0, err
    status, out, err = tool('test.py', words[0], tmp_path / 'run' / 'epoch_1.pth', *words[1:], '--show-dir',
                            tmp_path / 'shown')
    assert status == 0 and ('mDice' in out), err
    pictures = list((tmp_path / 'shown').rglob('*.png'))
    assert len(pictures) == (11 if data == 'acdc' else 4)


@pytest.mark.parametrize('name', ['cascade_decoder_cait_deit_t_acdc', 'cascade_decoder_cait_deit_t_polyp'])
def test_mmsegs_inferencer_takes_config_and_checkpoint(tmp_path, name):
    from mmseg.apis import MMSegInferencer
    config = read(name)
    config.model.backbone.pop('init_cfg')
    path, weights = tmp_path / 'config.py', tmp_path / 'weights.pth'
    config.dump(path)
    torch.save({'state_dict': build_model(config).state_dict(), 'meta': {}}, weights)
    inferencer = MMSegInferencer(model=str(path), weights=str(weights), device='cpu')
    image = np.random.default_rng(0).integers(0, 256, (100, 80, 3), dtype=np.uint8)
    prediction = inferencer(image, return_datasamples=True)
    assert prediction.pred_sem_seg.data.shape == (1, 100, 80)
