import pytest
import torch
from mmengine.optim import build_optim_wrapper
from torch import nn

from cait_mm.classification import Classifier
from cait_mm.engine import GradRuleAmpOptimWrapper, GradRuleOptimWrapper
from cait_mm.errors import UserError

ARCH = dict(embed_dim=24, depth=2, num_heads=3, img_size=(64, 64))


@pytest.fixture
def linear():
    return nn.Linear(3, 2, bias=False)


def test_the_rule_sees_complete_gradients_and_clipping_comes_after(linear):
    wrapper = GradRuleOptimWrapper(torch.optim.SGD(linear.parameters(), lr=1.), clip_grad=dict(max_norm=1.),
                                   accumulative_counts=2)
    wrapper.initialize_count_status(linear, 0, 4)
    seen = []

    def rule():
        seen.append(linear.weight.grad.clone())
        linear.weight.grad *= 100

    wrapper.grad_rule = rule
    before = linear.weight.detach().clone()
    for value in (1., 3.):
        wrapper.update_params(linear(torch.full((1, 3), value)).sum())
    assert len(seen) == 1, 'once a step, not once an iteration'
    torch.testing.assert_close(seen[0], torch.full((2, 3), 2.))
    assert (linear.weight - before).norm().item() == pytest.approx(1., rel=1e-4), 'what the rule adds is clipped too'


def test_without_a_rule_it_is_mmengines(linear):
    wrapper = GradRuleOptimWrapper(torch.optim.SGD(linear.parameters(), lr=1.))
    before = linear.weight.detach().clone()
    wrapper.update_params(linear(torch.ones(1, 3)).sum())
    torch.testing.assert_close(linear.weight, before - 1)


@pytest.mark.parametrize('clip', [None, dict(max_norm=1e-3)])
def test_fp16_gradients_are_unscaled_once_before_the_rule(linear, clip, monkeypatch):
    monkeypatch.setattr('mmengine.optim.optimizer.amp_optimizer_wrapper.is_cuda_available', lambda: True)
    wrapper = GradRuleAmpOptimWrapper(optimizer=torch.optim.SGD(linear.parameters(), lr=1.), clip_grad=clip)
    wrapper.loss_scaler = torch.amp.GradScaler('cpu', init_scale=1024.)
    seen = []
    wrapper.grad_rule = lambda: seen.append(linear.weight.grad.clone())
    before = linear.weight.detach().clone()
    for _ in range(2):
        wrapper.update_params(linear(torch.ones(1, 3)).sum())
    for grad in seen:
        torch.testing.assert_close(grad, torch.ones(2, 3))
    moved = (linear.weight - before).norm().item()
    assert moved == pytest.approx(2 * (1e-3 if clip else 6**0.5), rel=1e-3)


def test_a_step_with_infinite_gradients_is_skipped(linear, monkeypatch):
    monkeypatch.setattr('mmengine.optim.optimizer.amp_optimizer_wrapper.is_cuda_available', lambda: True)
    wrapper = GradRuleAmpOptimWrapper(optimizer=torch.optim.SGD(linear.parameters(), lr=1.))
    wrapper.loss_scaler = torch.amp.GradScaler('cpu', init_scale=1024.)
    wrapper.grad_rule = lambda: linear.weight.grad.nan_to_num_(0., 0., 0.)
    before = linear.weight.detach().clone()
    wrapper.update_params(linear(torch.full((1, 3), 1e38)).sum())
    assert torch.equal(linear.weight, before) and wrapper.loss_scaler.get_scale() == 512


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
    found = [names[parameter] for group in groups for parameter in group['params']]
    assert sorted(found) == sorted(names.values())
    for group in groups:
        name = names[group['params'][0]]
        if name.endswith('.columns'):
            assert (group['betas'], group['weight_decay'], group['lr']) == ((0.99, 0.95), 0., 1e-4)
        else:
            assert (group['betas'], group['lr']) == ((0.9, 0.95), 1e-3)
            assert group['weight_decay'] == (0. if group['params'][0].dim() == 1 else 0.05), name
