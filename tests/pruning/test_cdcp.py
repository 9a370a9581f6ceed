import math

import pytest
import torch
from plain_loop import make, plain_backbone
from torch import nn

from cait_mm.errors import UserError
from cait_mm.macs import reduction
from cait_mm.ops.compactor import compactor_of
from cait_mm.pruning.cdcp import CDCP
from cait_mm.pruning.fold import channel_scores
from cait_mm.pruning.masks import compactors_of, largest_masked_norm, masks_of
from cait_mm.pruning.rule import vanishing_steps
from cait_mm.pruning.selection import pruned_spec, select
from cait_mm.pruning.settings import Settings

NAN, INF = float('nan'), float('inf')


def pruner_of(backbone=None, **changes):
    """A pruner of a backbone whose columns have distinct norms."""
    if backbone is None:
        backbone = plain_backbone()
    pruner = CDCP(backbone, **{**dict(target=0.5, total_steps=200, ramp_start=0, step=0.05, interval=5,
                                      rule='proximal'), **changes})
    with torch.no_grad():
        for compactor in compactors_of(backbone):
            compactor.columns.mul_(torch.rand(*compactor.columns.shape[:2], 1) + 0.5)
    return pruner


def at(pruner, step):
    """Do the part of an optimizer's step at ``step`` that precedes the update; returns the log."""
    logged = []
    pruner.load_state_dict({'steps': step})
    pruner._log = logged.append
    pruner._before_step()
    return logged[0] if logged else None


@pytest.mark.parametrize('name,values', {
    'target': [0, 1, -0.5, NAN, 'x', None], 'step': [0, -1, NAN, INF, 'x'], 'strength': [0, -1, NAN, None],
    'shrink': [0, -0.5, NAN, INF], 'interval': [0, -5, 2.5, NAN, None], 'align': [0, -1, 1.5], 'rule': ['l0', 1],
    'head_consistency': ['no', 1, None], 'allow_remnants': ['yes']}.items())
def test_settings_that_make_no_sense_are_sentences(name, values):
    for value in values:
        with pytest.raises(UserError, match=rf'^`{name}=.*`: it has to be'):
            Settings(**{'target': 0.5, name: value})


@pytest.mark.parametrize('name,value', [('total_steps', 0), ('total_steps', 2.5), ('ramp_start', -1),
                                        ('ramp_start', 0.5), ('accumulation', 0)])
def test_a_schedule_that_makes_no_sense_is_a_sentence(name, value):
    with pytest.raises(UserError, match=rf'^`{name}={value}`: it has to be'):
        pruner_of(**{name: value})


def test_masks_follow_the_ramp_and_are_the_selection():
    pruner = pruner_of(ramp_start=10)
    backbone = pruner.backbone
    assert pruner.ramp_end == 10 + 5 * 9
    assert at(pruner, 9) is None and at(pruner, 12) is None
    assert all(mask.q.all() and mask.ffn.all() for mask in masks_of(backbone))
    reached = []
    for step in range(10, 60, 5):
        logged = at(pruner, step)
        reached.append(logged['reduction'])
        assert logged['wanted'] == pytest.approx(min(0.5, 0.05 * len(reached)))
        assert logged['reduction'] >= logged['wanted'] - 1e-9
    assert reached == sorted(reached)
    wanted = select(backbone.spec, channel_scores(backbone), 0.5)
    for mask, other in zip(pruner.masks(), wanted):
        assert all(torch.equal(getattr(mask, name), getattr(other, name)) for name in ('q', 'k', 'v', 'ffn'))
    assert logged['kept/1.ffn'] == int(wanted[1].ffn.sum())
    assert logged['width/1.qk'] == pruned_spec(backbone.spec, wanted).blocks[1].qk_dim
    assert at(pruner, 60)['flips'] == 0, 'nothing moved, nothing flips'


def test_a_channel_can_come_back():
    pruner = pruner_of()
    at(pruner, 50)
    compactor = compactor_of(pruner.backbone.blocks[0].mlp.fc1)
    gone = int((~compactor.mask[0]).nonzero()[0])
    with torch.no_grad():
        compactor.columns[:, gone] *= 100
    assert at(pruner, 55)['flips'] > 0 and compactor.mask[0, gone]


def test_masks_travel_in_the_state_dict():
    pruner, other = pruner_of(), pruner_of()
    at(pruner, 50)
    other.backbone.load_state_dict(pruner.backbone.state_dict())
    for mask, copy in zip(pruner.masks(), other.masks()):
        assert torch.equal(mask.v, copy.v) and not mask.ffn.all()


@pytest.mark.parametrize('rule', ['lasso', 'proximal'])
def test_gradients_become_those_of_eq_2(rule):
    pruner = pruner_of(rule=rule, strength=0.1)
    at(pruner, 50)
    compactors = list(compactors_of(pruner.backbone))
    for compactor in compactors:
        compactor.columns.grad = torch.randn_like(compactor.columns)
    before = [compactor.columns.grad.clone() for compactor in compactors]
    pruner.apply_gradient_rule()
    for grad, compactor in zip(before, compactors):
        columns, mask = compactor.columns.detach(), compactor.mask[..., None]
        pull = 0.1 * columns / columns.norm(dim=2, keepdim=True) if rule == 'lasso' else 0.
        torch.testing.assert_close(compactor.columns.grad, grad * mask + pull)


def test_proximal_steps_empty_masked_columns_and_touch_no_other():
    pruner = pruner_of(total_steps=80)
    at(pruner, 50)
    compactors = list(compactors_of(pruner.backbone))
    before = [compactor.columns.detach().clone() for compactor in compactors]
    norm = largest_masked_norm(pruner.backbone)
    for _ in range(math.ceil(norm / pruner.shrink)):
        pruner._after_step()
    assert pruner.shrink == 4 / 80 and largest_masked_norm(pruner.backbone) == 0
    for columns, compactor in zip(before, compactors):
        assert torch.equal(compactor.columns[compactor.mask], columns[compactor.mask])


def test_the_ramp_has_to_end_within_the_run():
    with pytest.raises(UserError, match='reaches 50.0% at step 55, after the run\'s 50: start earlier .`ramp_start`'):
        pruner_of(ramp_start=10, total_steps=50)


def test_the_ramp_begins_after_a_tenth_and_takes_a_quarter_of_the_run_unless_told():
    pruner = pruner_of(step=None, ramp_start=None, total_steps=400)
    assert pruner.ramp_start == 40 and pruner.ramp_end == pytest.approx(140, abs=5)


def test_beside_merges_the_ramp_begins_where_they_end():
    """From zero, nothing would be masked for most of the ramp, because merges have saved that much already."""
    backbone = plain_backbone(((1, 'horizontal'),))
    merged = reduction(backbone.spec)
    pruner = pruner_of(backbone, target=merged + 0.2, step=None, total_steps=200)
    first, *_ = (logged for step in range(200) if (logged := at(pruner, step)))
    assert merged < first['wanted'] <= first['reduction'] < merged + 0.05
    assert pruner.ramp_end == pytest.approx(50, abs=5)
    paper = pruner_of(plain_backbone(((1, 'horizontal'),)), target=merged + 0.2, step=0.01, total_steps=200)
    assert at(paper, 0)['wanted'] == 0.01


def test_an_unreachable_target_is_refused_at_the_start():
    with pytest.raises(UserError, match='out of reach'):
        pruner_of(target=0.999)


def test_a_run_in_which_channels_cannot_vanish_stops_at_the_start():
    with pytest.raises(UserError, match='`rule=proximal`.*`allow_remnants=True`'):
        pruner_of(rule='lasso', total_steps=400).check_vanishing(1e-4)
    assert 'need about' in pruner_of(rule='lasso', total_steps=200_000).check_vanishing(1e-4)
    told = pruner_of(rule='lasso', allow_remnants=True, total_steps=400)
    assert 'cutting them will change the model' in told.check_vanishing(1e-4)
    assert 'need about' in pruner_of(total_steps=400).check_vanishing(1e-4)
    with pytest.raises(UserError, match='proximal rule'):
        pruner_of(shrink=1e-6, total_steps=400).check_vanishing(1e-4)


@pytest.mark.parametrize('state', [dict(steps=-1), dict(steps='x'), dict(steps=1, rule='l0')])
def test_a_state_that_makes_no_sense_is_a_sentence(state):
    with pytest.raises(UserError, match='it has to be'):
        make()[1].load_state_dict(state)


@pytest.mark.parametrize('lr', [1e-3, 4e-3])
def test_the_estimate_agrees_with_adamw(lr):
    """A column with gradients of 1e-3 is masked after 500 steps; Adam's beta2 of 0.99 keeps the simulation short."""
    iterations, begin, beta2 = 6000, 500, 0.99
    column = nn.Parameter(torch.eye(8)[0].clone())
    optimizer = torch.optim.AdamW([column], lr=lr, betas=(0.99, beta2), weight_decay=0.)
    generator = torch.Generator().manual_seed(0)
    vanished = None
    for step in range(iterations):
        for group in optimizer.param_groups:
            group['lr'] = lr * 0.5 * (1 + math.cos(math.pi * step / iterations))
        norm = column.detach().norm().clamp_min(1e-12)
        task = 1e-3 * torch.randn(8, generator=generator) if step < begin else torch.zeros(8)
        column.grad = task + 1e-5 * column.detach() / norm
        optimizer.step()
        if step == begin:
            start = float(column.detach().norm())
        if step > begin and float(norm) < 0.02 * start:
            vanished = step - begin
            break
    estimate = vanishing_steps(start, lr, begin / iterations, iterations, 1e-5, beta2)
    assert vanished == pytest.approx(estimate, rel=0.25)
    assert math.isinf(vanishing_steps(1., 1e-5, 0.5, 1000))
