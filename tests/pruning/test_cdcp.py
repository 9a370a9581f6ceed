import math

import pytest
import torch
from torch import nn

from cait_mm.backbones import CAITDeiT
from cait_mm.errors import UserError
from cait_mm.ops.compactor import add_block_compactors, compactor_of
from cait_mm.pruning.cdcp import CDCP, CDCPSettings, masks_of
from cait_mm.pruning.fold import channel_scores
from cait_mm.pruning.rule import vanishing_steps
from cait_mm.pruning.selection import pruned_spec, select

ARCH = dict(embed_dim=24, depth=3, num_heads=3, img_size=(64, 64))


def make_backbone():
    model = CAITDeiT(arch=ARCH, merge=((1, 'horizontal'), ), out_indices=(-1, ), final_norm=True)
    for block in model.blocks:
        add_block_compactors(block.attn, block.mlp.fc1)
        for layer in (block.attn.qkv, block.mlp.fc1):
            columns = compactor_of(layer).columns
            with torch.no_grad():
                columns.mul_(torch.rand(*columns.shape[:2], 1) + 0.5)
    return model


@pytest.fixture
def backbone():
    return make_backbone()


NAN, INF = float('nan'), float('inf')


def settings(**changes):
    return CDCPSettings(**{**dict(target=0.5, start_epoch=0, step=0.05, interval=5, rule='proximal'), **changes})


@pytest.mark.parametrize('config,message', [
    (dict(), 'no target'), (dict(target=0.5, speed=3), 'unknown speed'), (dict(target=1.5), 'a share between 0 and 1'),
    (dict(target=0.5, rule='l0'), 'use lasso or proximal'), (dict(target=0.5, interval=0), 'be a positive whole'),
    (dict(target=0.5, start='zero'), 'use identity or calibrated')])
def test_impossible_settings_are_sentences(config, message):
    with pytest.raises(UserError, match=message):
        CDCPSettings.from_config(config)


@pytest.mark.parametrize('name,values', {
    'target': [0, 1, -0.5, NAN, 'x', None], 'step': [0, -1, NAN, INF, 'x'], 'strength': [0, -1, NAN, None],
    'shrink': [0, -0.5, NAN, INF], 'start_epoch': [-1, NAN, INF, 'x', None], 'interval': [0, -5, 2.5, NAN, None],
    'align': [0, -1, 1.5], 'calibration_images': [0, 2.5, NAN], 'head_consistency': ['no', 1, None],
    'allow_remnants': ['yes']}.items())
def test_numbers_that_make_no_sense_are_sentences(name, values):
    for value in values:
        with pytest.raises(UserError, match=rf'model\.cdcp\.{name}=.*: it has to be'):
            CDCPSettings.from_config({'target': 0.5, name: value})


def test_masks_follow_the_ramp_and_are_the_selection(backbone):
    cdcp = CDCP(backbone, settings(), start=10, iterations=200)
    assert cdcp.end == 10 + 5 * 9
    assert cdcp.before_iteration(9) is None and cdcp.before_iteration(12) is None
    assert all(mask.q.all() and mask.ffn.all() for mask in masks_of(backbone))
    reached = []
    for iteration in range(10, 60, 5):
        found = cdcp.before_iteration(iteration)
        reached.append(found['reduction'])
        assert found['wanted'] == pytest.approx(min(0.5, 0.05 * len(reached)))
        assert found['reduction'] >= found['wanted'] - 1e-9
    assert reached == sorted(reached)
    wanted = select(backbone.spec, channel_scores(backbone), 0.5)
    for mask, other in zip(masks_of(backbone), wanted):
        assert all(torch.equal(getattr(mask, name), getattr(other, name)) for name in ('q', 'k', 'v', 'ffn'))
    assert found['kept/2.ffn'] == int(wanted[2].ffn.sum())
    assert found['width/1.qk'] == pruned_spec(backbone.spec, wanted).blocks[1].qk_dim
    assert cdcp.before_iteration(60)['flips'] == 0, 'nothing moved, nothing flips'


def test_a_channel_can_come_back(backbone):
    cdcp = CDCP(backbone, settings(), start=0, iterations=200)
    cdcp.before_iteration(50)
    compactor = compactor_of(backbone.blocks[0].mlp.fc1)
    gone = int((~compactor.mask[0]).nonzero()[0])
    with torch.no_grad():
        compactor.columns[:, gone] *= 100
    assert cdcp.before_iteration(55)['flips'] > 0 and compactor.mask[0, gone]


def test_masks_travel_in_the_state_dict(backbone):
    CDCP(backbone, settings(), start=0, iterations=200).before_iteration(50)
    other = make_backbone()
    other.load_state_dict(backbone.state_dict())
    for mask, copy in zip(masks_of(backbone), masks_of(other)):
        assert torch.equal(mask.v, copy.v) and not mask.ffn.all()


@pytest.mark.parametrize('rule', ['lasso', 'proximal'])
def test_gradients_become_those_of_eq_2(backbone, rule):
    cdcp = CDCP(backbone, settings(rule=rule, strength=0.1), start=0, iterations=200)
    cdcp.before_iteration(50)
    for compactor in cdcp.compactors():
        compactor.columns.grad = torch.randn_like(compactor.columns)
    before = [compactor.columns.grad.clone() for compactor in cdcp.compactors()]
    cdcp.apply_gradient_rule()
    for grad, compactor in zip(before, cdcp.compactors()):
        columns, mask = compactor.columns.detach(), compactor.mask[..., None]
        pull = 0.1 * columns / columns.norm(dim=2, keepdim=True) if rule == 'lasso' else 0.
        torch.testing.assert_close(compactor.columns.grad, grad * mask + pull)


def test_proximal_steps_empty_masked_columns_and_touch_no_other(backbone):
    cdcp = CDCP(backbone, settings(), start=0, iterations=80)
    cdcp.before_iteration(50)
    before = [compactor.columns.detach().clone() for compactor in cdcp.compactors()]
    norm = cdcp.largest_masked_norm()
    for _ in range(math.ceil(norm / cdcp.shrink)):
        cdcp.after_step()
    assert cdcp.shrink == 4 / 80 and cdcp.largest_masked_norm() == 0
    for columns, compactor in zip(before, cdcp.compactors()):
        assert torch.equal(compactor.columns[compactor.mask], columns[compactor.mask])


def test_the_ramp_has_to_end_within_the_run(backbone):
    with pytest.raises(UserError, match='reaches 50.0% at iteration 55, after the run\'s 50'):
        CDCP(backbone, settings(), start=10, iterations=50)


def test_a_step_of_none_takes_a_quarter_of_the_run(backbone):
    assert CDCP(backbone, settings(step=None), start=7, iterations=400).end == pytest.approx(107, abs=5)


def test_an_unreachable_target_is_refused_at_the_start(backbone):
    with pytest.raises(UserError, match='out of reach'):
        CDCP(backbone, settings(target=0.999), start=0, iterations=200)


def test_a_run_in_which_channels_cannot_vanish_stops_at_the_start(backbone):
    short = CDCP(backbone, settings(rule='lasso'), start=0, iterations=400)
    with pytest.raises(UserError, match='proximal.*allow_remnants=True'):
        short.check_vanishing(1e-4)
    long = CDCP(backbone, settings(rule='lasso'), start=0, iterations=200_000)
    assert 'need about' in long.check_vanishing(1e-4)
    told = CDCP(backbone, settings(rule='lasso', allow_remnants=True), start=0, iterations=400)
    assert 'cutting them will change the model' in told.check_vanishing(1e-4)
    assert 'need about' in CDCP(backbone, settings(), start=0, iterations=400).check_vanishing(1e-4)
    with pytest.raises(UserError, match='proximal rule'):
        CDCP(backbone, settings(shrink=1e-6), start=0, iterations=400).check_vanishing(1e-4)


def test_accumulated_steps_count(backbone):
    assert CDCP(backbone, settings(), 0, 400, accumulated=4).shrink == 4 * CDCP(backbone, settings(), 0, 400).shrink


@pytest.mark.parametrize('lr', [1e-3, 4e-3])
def test_the_estimate_is_what_adamw_does(lr):
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
