"""Every classification config builds, trains a step (CDCP included) and predicts; the settings are the paper's."""
import pytest
import torch
from conftest import CONFIGS, ModelOwner
from mmengine.config import Config
from mmengine.registry import MODELS
from mmengine.runner import Runner

from cait_mm.classification.cdcp_settings import CDCPSettings
from cait_mm.config.load import load_config
from cait_mm.engine.recipe import set_epochs
from cait_mm.macs import classifier_cost, reduction
from cait_mm.pruning.cdcp import CDCP

HEADS = ('linear', 'upernet', 'fpn', 'mask2former', 'mask_rcnn', 'vitdet', 'cascade')
NAMES = sorted(name for name in CONFIGS if not name.startswith(HEADS))
SIZE = 64


def load(name: str) -> Config:
    return load_config(str(CONFIGS[name]))


def offline(config: Config) -> Config:
    """Small images, nothing loaded: the teacher is a model of the same classes with random weights."""
    config.model.backbone.img_size = SIZE
    config.model.backbone.pop('init_cfg', None)
    if config.model.distillation and config.model.distillation.alpha:
        tiny = dict(type='CAITDeiT', arch=dict(embed_dim=12, depth=1, num_heads=1, img_size=SIZE))
        config.model.distillation.teacher = dict(type='Classifier', num_classes=config.model.num_classes, backbone=tiny)
    return config


def pruner_of(model, ramp_start, total_steps):
    return CDCP(model, total_steps=total_steps, ramp_start=ramp_start, **model.cdcp.of_the_method())


@pytest.mark.parametrize('name', NAMES)
def test_config_trains_and_predicts_one_step(name):
    config = offline(load(name))
    model = MODELS.build(config.model).train()
    model.init_weights()
    wrapper = Runner.build_optim_wrapper(ModelOwner(model), config.optim_wrapper)
    if model.cdcp:
        pruner_of(model, 0, 10_000_000).attach(wrapper.optimizer, own_group=False)
    batch = dict(inputs=torch.randn(2, 3, SIZE, SIZE), targets=torch.tensor([1, 3]))
    before = {key: value.clone() for key, value in model.named_parameters()}
    losses = model.train_step(batch, wrapper)
    assert all(torch.isfinite(value) for value in losses.values())
    moved = {key for key, value in model.named_parameters() if not torch.equal(value, before[key])}
    first = f'backbone.{model.backbone.arch.block_path(0)}'
    assert any(key.startswith(first) for key in moved) and 'head.weight' in moved
    assert not model.cdcp or any(key.endswith('.columns') for key in moved)
    model.eval()
    with torch.no_grad():
        predictions = model.test_step(batch)
    assert predictions[0]['scores'].shape == (config.model.num_classes, ) and predictions[1]['target'] == 3


@pytest.mark.parametrize('name', NAMES)
def test_config_is_consistent(name):
    config = load(name)
    assert config.param_scheduler[-1]['end'] == config.train_cfg.max_epochs
    assert config.custom_imports['imports'] == ['cait_mm'] and config.default_scope == 'mmengine'
    mixup = config.model.data_preprocessor.mixup
    assert not mixup or mixup.num_classes == config.model.num_classes
    assert config.train_dataloader.batch_size == config.auto_scale_lr.base_batch_size
    hooks = [hook.type for hook in config.custom_hooks]
    assert {'CDCPHook', 'EpochSeedHook', 'FiniteHook', 'NumClassesHook'} <= set(hooks)
    assert config.default_hooks.checkpoint.backend_args.backend == 'atomic'


@pytest.mark.parametrize('name,merges_save,target', [
    ('compress_cait_deit_t_imagenet', 0.417, 0.505), ('compress_cait_deit_s_imagenet', 0.431, 0.544),
    ('compress_cait_deit_b_imagenet', 0.428, 0.579), ('compress_cdcp_deit_t_imagenet', 0, 0.312),
    ('compress_cdcp_deit_s_imagenet', 0, 0.381), ('compress_cdcp25_deit_t_imagenet', 0, 0.251),
    ('compress_atme_deit_t_imagenet', 0.502, None), ('compress_atme_deit_s_imagenet', 0.546, None),
    ('compress_atme_swin_t_imagenet', 0.203, None), ('compress_cait_swin_t_imagenet', 0.203, 0.354),
    ('compress_cdcp_swin_t_imagenet', 0, 0.267), ('compress_atme_swin_s_imagenet', 0.337, None),
    ('atme_swin_t_scratch_imagenet', 0.203, None), ('atme_swin_s_scratch_imagenet', 0.337, None),
    ('compress_cait_lvvit_s_imagenet', 0.391, 0.5)])
def test_targets_are_the_papers(name, merges_save, target):
    config = load(name)
    model = MODELS.build(config.model)
    assert reduction(model.backbone.spec) == pytest.approx(merges_save, abs=6e-4)
    assert target == (model.cdcp.target if model.cdcp else None)
    if model.cdcp:
        iterations = 5004 if '_b_' not in name else 10009
        pruner = pruner_of(model, 30 * iterations, 300 * iterations)
        assert 'need about' in pruner.check_vanishing(config.optim_wrapper.optimizer.lr), 'the recipe passes its check'


def test_recipe_is_the_papers():
    config = load('compress_cait_deit_s_imagenet')
    optimizer, mixup = config.optim_wrapper.optimizer, config.model.data_preprocessor.mixup
    assert (optimizer.type, optimizer.lr, optimizer.weight_decay) == ('AdamW', 1e-4, 0.05)
    assert (config.train_dataloader.batch_size, config.train_cfg.max_epochs) == (256, 300)
    assert (mixup.mixup_alpha, mixup.cutmix_alpha, mixup.label_smoothing) == (0.8, 1.0, 0.1)
    alphas = {size: load(f'compress_cait_deit_{size}_imagenet').model.distillation.alpha for size in 'tsb'}
    assert alphas == dict(t=0.1, s=0.25, b=0.25)
    assert load('compress_cait_deit_b_imagenet').train_dataloader.batch_size == 128
    settings = CDCPSettings.from_config(config.model.cdcp)
    assert (settings.start, settings.rule, settings.strength) == ('identity', 'lasso', 1e-5)
    assert (settings.start_epoch, settings.step, settings.interval) == (30, 0.00025, 25)


def test_scratch_recipe_is_swins():
    for size, drop_path in (('t', 0.2), ('s', 0.3)):
        config = load(f'atme_swin_{size}_scratch_imagenet')
        assert config.model.distillation is None and config.model.backbone.init_cfg is None
        assert config.model.backbone.drop_path_rate == drop_path and config.model.get('cdcp') is None
        assert (config.optim_wrapper.optimizer.lr, config.optim_wrapper.clip_grad.max_norm) == (1e-3, 5.0)
        assert config.train_dataloader.batch_size == 1024 and config.train_cfg.max_epochs == 300
        assert config.param_scheduler[0].end == 20 and 'EMAHook' not in [hook.type for hook in config.custom_hooks]


def test_swins_bias_tables_do_not_decay():
    config = offline(load('swin_t_600e_imagenet'))
    wrapper = Runner.build_optim_wrapper(ModelOwner(MODELS.build(config.model)), config.optim_wrapper)
    decays = {group['weight_decay'] for group in wrapper.param_groups if group['params'][0].shape == (169, 3)}
    assert decays == {0}


def test_controls_have_half_the_macs():
    for name, params in (('half_depth', 3.0e6), ('half_dim', 2.8e6)):
        cost = classifier_cost(MODELS.build(load(f'{name}_deit_t_imagenet').model).backbone.spec)
        assert cost.macs == pytest.approx(0.64e9, rel=0.02) and cost.params == pytest.approx(params, rel=0.03)


@pytest.mark.parametrize('epochs', [30, 150])
def test_one_option_changes_the_length(epochs):
    config = load('compress_cait_deit_s_imagenet')
    set_epochs(config, epochs)
    assert config.train_cfg.max_epochs == epochs == config.param_scheduler[-1].end
    assert config.param_scheduler[0].end == config.param_scheduler[1].begin == max(1, round(5 * epochs / 300))
    assert config.model.cdcp.start_epoch == 30 * epochs / 300
    model = MODELS.build(config.model)
    pruner_of(model, round(config.model.cdcp.start_epoch * 5004), epochs * 5004).check_vanishing(1e-4)


def test_a_run_of_one_epoch_has_no_warm_up():
    config = load('deit_scenes')
    set_epochs(config, 1)
    assert [(item.type, item.begin, item.end) for item in config.param_scheduler] == [('CosineAnnealingLR', 0, 1)]
