"""Every segmentation config builds; those that are not large take a training step and predict, at a small size."""
import re
import runpy

import numpy as np
import pytest
import torch
from conftest import CONFIGS, DATA, ROOT, ModelOwner
from mmengine.config import Config
from mmengine.registry import DATASETS, MODELS, DefaultScope
from mmengine.runner import Runner

from cait_mm.analysis.modes import Mode
from cait_mm.analysis.training import random_batch
from cait_mm.config.load import load_config
from cait_mm.tasks import Encoder, Overall, build_model

NAMES = sorted(name for name in CONFIGS if name.startswith(('upernet_', 'fpn_', 'mask2former_', 'linear_')))
LARGE = [name for name in NAMES if re.search('_(dinov[23]_[sb]|deit_b)_', name)]
"""Their small siblings are trained; they themselves only say the shapes of what they compute."""
SIZE = (64, 64)


def shrink(config: Config) -> Config:
    """Small inputs; nothing is loaded. Widths, merges and heads stay the same."""
    config.model.data_preprocessor.size = SIZE
    config.model.backbone.img_size = SIZE
    config.model.backbone.pop('init_cfg', None)
    return config


def real_ade20k_batch(config: Config):
    """Two real ADE20K images through the config's own training pipeline, cropped small."""
    folder = DATA / 'ade20k_samples'
    dataset = config.train_dataloader.dataset
    dataset.update(data_root=str(folder), data_prefix=dict(img_path='images', seg_map_path='annotations'))
    for step in dataset.pipeline:
        if step.type == 'RandomResize':
            step.scale = (512, 160)
        if step.type == 'RandomCrop':
            step.crop_size = SIZE
    with DATASETS.switch_scope_and_registry('mmseg') as registry:
        built = registry.build(dataset)
    items = [built[0], built[1]]
    return {'inputs': [item['inputs'] for item in items], 'data_samples': [item['data_samples'] for item in items]}


@pytest.mark.parametrize('name', LARGE)
def test_a_large_config_predicts_a_map_as_large_as_a_crop(name):
    """On PyTorch's meta device, for which MMCV's deformable attention has no kernel: there the encoder must do."""
    config = load_config(str(CONFIGS[name]))
    config.model.backbone.pop('init_cfg')
    height, width = config.model.data_preprocessor.size
    with torch.device('meta'):
        model = build_model(config)
        if name.startswith('mask2former_'):
            finest, patch = Encoder(model)(torch.empty(1, 3, height, width))[0], model.backbone.arch.patch_size
            assert finest.shape == (1, config.model.neck.embed_dim, 4 * height // patch, 4 * width // patch)
        else:
            assert Overall(model)(torch.empty(1, 3, height, width))[0].shape == (1, 150, height, width)
    assert height == width == (518 if 'dinov2' in name else 512)


@pytest.mark.parametrize('name', [name for name in NAMES if name not in LARGE])
def test_config_trains_and_predicts_one_step(name):
    config = shrink(load_config(str(CONFIGS[name])))
    model = build_model(config).train()
    model.init_weights()
    real = name.endswith('_ade20k') and (DATA / 'ade20k_samples').exists()
    batch = real_ade20k_batch(config) if real else random_batch(model, 2, SIZE, Mode())

    wrapper = Runner.build_optim_wrapper(ModelOwner(model), config.optim_wrapper)
    before = {key: value.clone() for key, value in model.state_dict().items() if value.dtype.is_floating_point}
    losses = model.train_step(batch, wrapper)
    assert all(torch.isfinite(value) for value in losses.values())
    moved = [key for key, value in model.state_dict().items() if key in before and not torch.equal(value, before[key])]
    trained = any(key.startswith('backbone.') for key in moved)
    assert trained == any(key.startswith(f'backbone.{model.backbone.arch.block_path(0)}') for key in moved)
    assert trained != name.startswith('linear_'), 'a linear head reads a frozen backbone'
    assert any(key.startswith('decode_head') for key in moved)

    model.eval()
    with torch.no_grad():
        result = model.test_step(batch)[0]
    shape = result.metainfo['ori_shape']
    assert result.pred_sem_seg.data.shape == (1, *shape)
    assert int(result.pred_sem_seg.data.max()) < config.model.decode_head.num_classes


@pytest.mark.parametrize('name', NAMES)
def test_config_states_its_heads_and_training_consistently(name):
    config = load_config(str(CONFIGS[name]))
    model = config.model
    with torch.device('meta'):
        arch = MODELS.build({key: value for key, value in model.backbone.items() if key != 'init_cfg'}).arch
    if name.startswith('linear_'):
        assert model.neck is None and model.backbone.frozen_stages == arch.depth == model.backbone.out_indices[0] + 1
        assert model.decode_head.in_channels == arch.embed_dim
        dims = [arch.embed_dim]
    elif arch.family == 'swin':
        dims = [arch.stage_dim(stage) for stage in range(4)]
        assert model.neck is None
    else:
        dims = [arch.embed_dim] * 4
        pyramid = model.neck[0] if isinstance(model.neck, list) else model.neck
        assert pyramid.embed_dim == arch.embed_dim
    if isinstance(model.neck, list):
        assert list(model.neck[1].in_channels) == dims
        dims = [model.neck[1].out_channels] * 4
    assert np.array_equal(model.decode_head.in_channels, dims if len(dims) > 1 else dims[0])
    assert not model.auxiliary_head or model.auxiliary_head.in_channels == dims[model.auxiliary_head.in_index]
    assert config.param_scheduler[-1]['end'] == config.train_cfg.max_iters
    assert config.custom_imports['imports'] == ['cait_mm'] and config.default_scope == 'mmseg'
    assert DefaultScope.get_current_instance().scope_name == 'mmseg'


MERGES = {
    'deit_t': ((4, 'horizontal'), (8, 'vertical')),
    'deit_s': ((4, 'horizontal'), (7, 'vertical')),
    'deit_b': ((4, 'horizontal'), (7, 'vertical')),
    'swin_t': (('2.4', 'horizontal'), ('2.5', 'vertical')),
    'swin_s': (('2.7', 'horizontal'), ('2.12', 'vertical')),
    'swin': (('2.4', 'horizontal'), ('2.5', 'vertical')),  # the small ones
    'lvvit': ((3, 'horizontal'), (5, 'vertical')),
    **dict.fromkeys(('dinov2_s', 'dinov2_b', 'dinov3_s', 'dinov3_b', 'vit_b', 'vit_t'),
                    ((4, 'horizontal'), (8, 'vertical'))),
    **dict.fromkeys(('dinov2', 'dinov3'), ((3, 'horizontal'), (5, 'vertical'))),  # of eight blocks
    'deit': ((2, 'horizontal'), (5, 'vertical')),  # the quick start's
}
BOTH, ATME_ONLY = ('atme', 'cait'), ('atme', )
TWINS = [
    *(('upernet', family, 'ade20k', BOTH) for family in ('deit_t', 'deit_s', 'deit_b', 'swin_t', 'swin_s')),
    *(('upernet', family, task, BOTH) for family in ('deit_t', 'deit_s', 'swin_t') for task in ('potsdam', 'isaid')),
    ('fpn', 'deit_s', 'ade20k', BOTH), ('mask2former', 'deit_s', 'ade20k', BOTH),
    ('mask_rcnn', 'deit_s', 'coco', BOTH), ('cascade_mask_rcnn', 'swin_t', 'coco', ATME_ONLY),
    ('cascade_mask_rcnn', 'swin_s', 'coco', ATME_ONLY),
    ('fpn', 'deit_t', 'coco_semantic', BOTH), ('mask2former', 'deit_t', 'camvid', BOTH),
    ('upernet', 'deit_t', 'camvid', BOTH), ('mask_rcnn', 'deit_t', 'coco', BOTH),
    *(('upernet', 'swin', task, BOTH) for task in ('camvid', 'potsdam', 'isaid')),
    *(('cascade_mask_rcnn', 'swin', task, ATME_ONLY) for task in ('coco', 'scenes')),
    ('cascade_decoder', 'swin', 'polyp', BOTH),
    *(('cascade_decoder', family, task, BOTH) for family in ('deit_t', 'deit_s', 'swin_t')
      for task in ('synapse', 'acdc', 'polyp')),
    ('upernet', 'lvvit', 'camvid', ('cait', )), ('mask_rcnn', 'deit', 'scenes', BOTH),
    *((head, f'dinov{version}_{size}', 'ade20k', BOTH) for head in ('linear', 'upernet', 'mask2former')
      for version in (2, 3) for size in 'sb'),
    *((head, f'dinov{version}', 'camvid', BOTH) for head in ('linear', 'upernet') for version in (2, 3)),
    ('mask2former', 'dinov2', 'camvid', BOTH),
    *(('vitdet', family, 'coco', BOTH) for family in ('vit_b', 'dinov3_b', 'vit_t')),
]


@pytest.mark.parametrize('head,family,task,kinds', TWINS)
def test_twins_differ_in_the_backbone_alone(head, family, task, kinds):
    merges = MERGES[family]
    dense = Config.fromfile(CONFIGS[f'{head}_{family}_{task}'])
    for kind in kinds:
        twin = Config.fromfile(CONFIGS[f'{head}_{kind}_{family}_{task}'])
        assert tuple(map(tuple, twin.model.backbone['merge'])) == merges
        for key in dense:
            if key != 'model':
                assert twin[key] == dense[key], key
        assert {k: v for k, v in twin.model.items() if k != 'backbone'} == {
            k: v for k, v in dense.model.items() if k != 'backbone'}


RIVALS = sorted(runpy.run_path(str(ROOT / 'configs/_base_/backbones/rivals.py'))['rivals'], key=len, reverse=True)
COMPARED = {name: kind for name in CONFIGS for kind in RIVALS if re.search(f'_{kind}_deit_[ts]_', name)}


def test_there_are_rivals_for_every_kind():
    assert set(COMPARED.values()) == set(RIVALS)


@pytest.mark.parametrize('name', COMPARED)
def test_rivals_differ_from_the_dense_twin_in_their_tokens_alone(name):
    twin, dense = (Config.fromfile(CONFIGS[path]) for path in (name, name.replace(f'_{COMPARED[name]}_', '_')))
    tokens = twin.model.backbone.pop('tokens')
    assert all(twin[key] == dense[key] for key in dense)
    of = {'tome': 'ToMe', 'diffrate': 'DiffRate', 'evit': 'EViT', 'lfe': 'LFE', 'evovit': 'EvoViT'}
    assert tokens.type == of[COMPARED[name].split('_')[0]]
    assert (tokens.get('restore') == 'unstructured') == ('unstructured' in name)


def test_paper_setting_of_upernet_on_ade20k():
    config = Config.fromfile(CONFIGS['upernet_cait_deit_s_ade20k'])
    optimizer = config.optim_wrapper.optimizer
    assert (optimizer.type, optimizer.lr, optimizer.weight_decay) == ('AdamW', 6e-5, 0.01)
    assert config.train_cfg.max_iters == 160000 and config.train_dataloader.batch_size == 32
    crop = next(step for step in config.train_dataloader.dataset.pipeline if step.type == 'RandomCrop')
    assert tuple(crop.crop_size) == (512, 512) and tuple(config.model.backbone.out_indices) == (3, 5, 7, 11)
    assert config.param_scheduler[0].end == 1500 and np.isclose(config.param_scheduler[0].start_factor, 1e-6)
