"""Every detection config builds; those that are not large take a training step and predict, at a small size."""
import pytest
import torch
from conftest import CONFIGS, DATA, ModelOwner
from mmengine.config import Config
from mmengine.registry import DATASETS
from mmengine.runner import Runner

from cait_mm.analysis.modes import Mode
from cait_mm.analysis.training import random_batch
from cait_mm.config.load import load_config
from cait_mm.tasks import Encoder, build_model

NAMES = sorted(name for name in CONFIGS if 'rcnn_' in name or name.startswith('vitdet_'))
LARGE = [name for name in NAMES if '_b_coco' in name]
SIZE = 128


def shrink(config: Config) -> Config:
    """Small inputs, few proposals; nothing is loaded. Widths, merges and heads stay the same."""
    config.model.backbone.img_size = SIZE
    config.model.data_preprocessor.batch_augments = None
    config.model.backbone.pop('init_cfg', None)
    config.model.train_cfg.rpn_proposal.update(nms_pre=100, max_per_img=20)
    config.model.test_cfg.rpn.update(nms_pre=100, max_per_img=20)
    stages = config.model.train_cfg.rcnn
    for stage in stages if isinstance(stages, list) else [stages]:
        stage.sampler.num = 16
    return config


def real_coco_batch(config: Config):
    """Two real COCO images through the config's own training pipeline, at a small size."""
    folder, dataset = DATA / 'coco_100_100', config.train_dataloader.dataset
    dataset.update(data_root=str(folder), ann_file='annotations/instances_train2017_100.json')
    dataset.data_prefix = dict(img='images/train2017/')

    def small(steps):
        for step in steps:
            if step.type in ('Resize', 'RandomResize'):
                step.scale = (SIZE, SIZE)
            if step.type == 'RandomChoiceResize':
                step.scales = [(SIZE, SIZE)]
            if step.type == 'RandomCrop':
                step.crop_size = (64, 96)
            for branch in step.get('transforms', ()):
                small(branch)

    small(dataset.pipeline)
    with DATASETS.switch_scope_and_registry('mmdet') as registry:
        built = registry.build(dataset)
    items = [built[0], built[1]]
    return {'inputs': [item['inputs'] for item in items], 'data_samples': [item['data_samples'] for item in items]}


@pytest.mark.parametrize('name', LARGE)
def test_a_large_config_gives_five_maps(name):
    config = load_config(str(CONFIGS[name]))
    config.model.backbone.pop('init_cfg')
    with torch.device('meta'):
        maps = Encoder(build_model(config))(torch.empty(1, 3, 1024, 1024))
    assert [tuple(item.shape) for item in maps] == [(1, 256, side, side) for side in (256, 128, 64, 32, 16)]


@pytest.mark.parametrize('name', [name for name in NAMES if name not in LARGE])
def test_config_trains_and_predicts_one_step(name):
    config = shrink(load_config(str(CONFIGS[name])))
    model = build_model(config).train()
    model.init_weights()
    real = (DATA / 'coco_100_100').exists()
    batch = real_coco_batch(config) if real else random_batch(model, 2, (SIZE, SIZE), Mode())
    wrapper = Runner.build_optim_wrapper(ModelOwner(model), config.optim_wrapper)
    before = {key: value.clone() for key, value in model.named_parameters()}
    losses = model.train_step(batch, wrapper)
    assert all(torch.isfinite(value).all() for value in losses.values())
    moved = [key for key, value in model.named_parameters() if not torch.equal(value, before[key])]
    for part in (f'backbone.{model.backbone.arch.block_path(0)}', 'neck', 'rpn_head', 'roi_head'):
        assert any(key.startswith(part) for key in moved), part
    model.eval()
    for sample in batch['data_samples']:
        sample.set_metainfo(dict(flip=False))  # cascades would turn the masks back
    with torch.no_grad():
        predictions = model.test_step(batch)
    instances = predictions[0].pred_instances
    assert len(predictions) == 2 and instances.masks.shape[0] == len(instances.scores)


@pytest.mark.parametrize('name', [name for name in NAMES if '_deit_s_coco' in name or '_swin_t_coco' in name])
def test_config_is_the_papers(name):
    config = load_config(str(CONFIGS[name]))
    optimizer = config.optim_wrapper.optimizer
    epochs, lr = (36, 1e-4) if name.startswith('cascade') else (12, 2e-4)
    assert (optimizer.type, optimizer.lr, config.train_cfg.max_epochs) == ('AdamW', lr, epochs)
    assert config.param_scheduler[-1].end == epochs and config.train_dataloader.batch_size == 16
    resize = next(step for step in config.test_dataloader.dataset.pipeline if step.type == 'Resize')
    assert tuple(resize.scale) == (1333, 800)
