from types import SimpleNamespace

import pytest
import torch
from mmengine.optim import AmpOptimWrapper, OptimWrapper, build_optim_wrapper
from mmengine.registry import OPTIM_WRAPPERS
from plain_loop import make, random_batches
from torch import nn
from torch.nn.functional import cross_entropy

from cait_mm.classification import Classifier
from cait_mm.engine.cdcp_hook import clip_after_the_rule
from cait_mm.errors import UserError
from cait_mm.pruning.masks import compactors_of

ARCH = dict(embed_dim=24, depth=2, num_heads=3, img_size=(64, 64))


def wrapped(scale=None, **options):
    """A pruner whose masked channels want to go, attached to an optimizer in MMEngine's wrapper."""
    model, pruner = make(rule='lasso', strength=0.5, allow_remnants=True, ramp_start=0)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.)
    wrapper = (AmpOptimWrapper if scale else OptimWrapper)(optimizer=optimizer, **options)
    if scale:
        wrapper.loss_scaler = torch.amp.GradScaler('cpu', init_scale=scale)
    pruner.attach(optimizer, own_group=False)
    clip_after_the_rule(wrapper)
    return model, pruner, wrapper


def step(model, wrapper, factor=1.):
    """One step on a batch; returns how far every weight moved."""
    before = {name: value.detach().clone() for name, value in model.named_parameters()}
    images, labels = random_batches(1)[0]
    wrapper.update_params(cross_entropy(model(images) * factor, labels))
    return {name: before[name] - value.detach() for name, value in model.named_parameters()}


@pytest.fixture(autouse=True)
def _amp_without_a_gpu(monkeypatch):
    monkeypatch.setattr('mmengine.optim.optimizer.amp_optimizer_wrapper.is_cuda_available', lambda: True)


def test_names_of_before_are_mmengines_wrappers():
    assert OPTIM_WRAPPERS.get('GradRuleOptimWrapper') is OptimWrapper
    assert OPTIM_WRAPPERS.get('GradRuleAmpOptimWrapper') is AmpOptimWrapper


@pytest.mark.parametrize('scale', [None, 1024.])
@pytest.mark.parametrize('clip', [dict(max_norm=1e-2), dict(type='value', clip_value=1e-3)])
def test_clipping_is_of_the_gradient_that_the_rule_gives(scale, clip):
    moved = [step(*made[::2]) for made in (wrapped(scale), wrapped(scale, clip_grad=dict(clip)))]
    whole, clipped = (torch.cat([value.flatten() for value in item.values()]) for item in moved)
    if 'max_norm' in clip:
        wanted = whole * (1e-2 / whole.norm())
    else:
        wanted = whole.clamp(-1e-3, 1e-3)
    torch.testing.assert_close(clipped, wanted, atol=1e-6, rtol=1e-3)


def test_clipping_reports_the_norm():
    model, pruner, wrapper = wrapped(clip_grad=dict(max_norm=1e-2))
    wrapper.message_hub = SimpleNamespace(update_scalar=lambda name, value: seen.append((name, value)))
    seen = []
    step(model, wrapper)
    assert [name for name, _ in seen] == ['train/grad_norm'] and seen[0][1] > 0.5, 'once, and the pull is in it'


@pytest.mark.parametrize('clip', [None, dict(max_norm=1e-3)])
def test_a_scaled_loss_gives_the_same_update(clip):
    for scaled, plain in zip(*(step(*wrapped(scale, clip_grad=clip)[::2]).values() for scale in (1024., None))):
        assert torch.equal(scaled, plain)


@pytest.mark.parametrize('clip', [None, dict(max_norm=1e-3)])
def test_a_step_with_infinite_gradients_is_skipped(clip):
    model, pruner, wrapper = wrapped(1024., clip_grad=clip)
    moved = step(model, wrapper, factor=torch.inf)
    assert not any(value.any() for value in moved.values()) and pruner.steps == 0
    assert all(compactor.mask.all() for compactor in compactors_of(model.backbone))
    assert wrapper.loss_scaler.get_scale() == 512
    step(model, wrapper)
    assert pruner.steps == 1 and not all(compactor.mask.all() for compactor in compactors_of(model.backbone))


def test_accumulated_gradients_get_the_rule_once():
    model, pruner, wrapper = wrapped(accumulative_counts=2)
    twin, other, plain = wrapped()
    pruner.accumulation = 2
    wrapper.initialize_count_status(model, 0, 4)
    assert not any(value.any() for value in step(model, wrapper).values())
    for value, wanted in zip(step(model, wrapper).values(), step(twin, plain).values()):
        torch.testing.assert_close(value, wanted)
    assert pruner.steps == 2


@pytest.mark.parametrize('option', [dict(compactor_lr_mult=-1), dict(compactor_lr_mult=float('nan')),
                                    dict(compactor_beta1=1), dict(compactor_beta1='x')])
def test_options_that_make_no_sense_are_a_sentence(option):
    with pytest.raises(UserError, match='paramwise_cfg has compactor_beta1='):
        build_optim_wrapper(nn.Linear(2, 2), dict(constructor='CompactorConstructor', paramwise_cfg=option,
                                                  optimizer=dict(type='AdamW', lr=1e-3)))


def test_compactors_have_their_own_group_and_every_parameter_one():
    model = Classifier(dict(type='CAITDeiT', arch=ARCH), num_classes=5, cdcp=dict(target=0.3))
    wrapper = build_optim_wrapper(model, dict(
        type='GradRuleOptimWrapper', constructor='CompactorConstructor',
        optimizer=dict(type='AdamW', lr=1e-3, betas=(0.9, 0.95), weight_decay=0.05),
        paramwise_cfg=dict(flat_decay_mult=0., compactor_lr_mult=0.1)))
    names = {parameter: name for name, parameter in model.named_parameters()}
    groups = wrapper.optimizer.param_groups
    held = [names[parameter] for group in groups for parameter in group['params']]
    assert sorted(held) == sorted(names.values())
    for group in groups:
        name = names[group['params'][0]]
        if name.endswith('.columns'):
            assert (group['betas'], group['weight_decay'], group['lr']) == ((0.99, 0.99), 0., 1e-4)
        else:
            assert (group['betas'], group['lr']) == ((0.9, 0.95), 1e-3)
            assert group['weight_decay'] == (0. if group['params'][0].dim() == 1 else 0.05), name
