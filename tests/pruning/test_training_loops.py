"""CDCP in plain PyTorch loops: no Runner, no config."""
import copy
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from plain_loop import STEPS, adamw, make, plain_backbone, plain_classifier, random_batches, train
from test_plain import run_without_openmmlab
from torch.nn.utils import clip_grad_norm_

from cait_mm.errors import UserError
from cait_mm.models import Classifier
from cait_mm.ops.compactor import Compactor
from cait_mm.pruning.cdcp import CDCP
from cait_mm.pruning.fold import without_masked
from cait_mm.pruning.masks import largest_masked_norm, reduction_of, set_masks
from cait_mm.pruning.rule import lasso_gradient_, proximal_step, wanted_reduction

TESTS = Path(__file__).resolve().parents[1]


def by_hand(model, pruner, optimizer, batches):
    """The method without a hook."""
    settings = pruner.settings
    compactors = [module for module in model.modules() if isinstance(module, Compactor)]
    compactors = list({id(item): item for item in compactors}.values())
    for index, (images, labels) in enumerate(batches):
        F.cross_entropy(model(images), labels).backward()
        if index >= pruner.ramp_start and (index - pruner.ramp_start) % settings.interval == 0:
            wanted = wanted_reduction(index, pruner.ramp_start, settings.target, pruner.step, settings.interval)
            set_masks(model.backbone, pruner._select(wanted))
        for item in compactors:
            lasso_gradient_(item.columns.grad, item.columns.detach(), item.mask,
                            settings.strength if settings.rule == 'lasso' else None)
        optimizer.step()
        if settings.rule == 'proximal':
            for item in compactors:
                proximal_step(item.columns, item.mask, pruner.shrink)
        optimizer.zero_grad()


def same(model, other):
    """Whether two models hold the same bits."""
    pairs = zip(model.state_dict().items(), other.state_dict().items(), strict=True)
    return all(name == twin and torch.equal(value, copied) for (name, value), (twin, copied) in pairs)


@pytest.mark.parametrize('images', [None, random_batches(3)])
@pytest.mark.parametrize('pad_to', [0, 4])
def test_a_loop_reaches_its_target_and_folds_exactly(images, pad_to):
    batches = random_batches(STEPS)
    model, pruner = make(images=images)
    optimizer = adamw(model)
    seen = []
    sentence = pruner.attach(optimizer, log=seen.append)
    assert 'to vanish by the proximal rule' in sentence
    train(model, optimizer, batches)
    assert pruner.steps == STEPS and pruner.reduction == pytest.approx(0.4, abs=0.01)
    assert [item['wanted'] for item in seen] == pytest.approx([0.16, 0.32, *[0.4] * 7])
    assert seen[-1]['reduction'] == pruner.reduction
    masks = pruner.masks()
    assert largest_masked_norm(model.backbone) == 0 and not all(mask.ffn.all() for mask in masks)
    small = pruner.fold(pad_to=pad_to)
    picture = batches[0][0]
    torch.testing.assert_close(small.eval()(picture), model.eval()(picture), atol=1e-5, rtol=1e-5)
    assert isinstance(small, Classifier) and not any(isinstance(module, Compactor) for module in small.modules())
    if not pad_to:
        assert reduction_of(model.backbone) == pytest.approx(pruner.reduction)
        assert sum(map(torch.numel, small.parameters())) < 0.7 * sum(map(torch.numel, plain_classifier().parameters()))
    widths = small.backbone.spec.blocks[0]
    assert small.backbone.blocks[0].attn.qk_dim == widths.qk_dim and small.backbone.blocks[0].mlp.fc1.weight.shape == (
        widths.ffn_dim, 24)
    assert pruner.steps == STEPS, 'the model that was trained is left as it is'


@pytest.mark.parametrize('options', [dict(foreach=False), dict(foreach=True), dict(fused=True)])
@pytest.mark.parametrize('rule', ['lasso', 'proximal'])
def test_hooks_equal_a_loop_by_hand(options, rule):
    batches = random_batches(20)
    settings = dict(rule=rule, strength=1e-2, allow_remnants=True)
    (model, pruner), (twin, other) = make(**settings), make(**settings)
    optimizer = adamw(model, **options)
    pruner.attach(optimizer, own_group=False)
    train(model, optimizer, batches)
    by_hand(twin, other, adamw(twin, **options), batches)
    assert same(model, twin) and not all(mask.ffn.all() for mask in pruner.masks())


@pytest.mark.parametrize('keyword', [False, True])
def test_a_closure_computes_gradients_inside_the_step(keyword):
    batches = random_batches(20)
    settings = dict(rule='lasso', strength=1e-2, allow_remnants=True)
    (model, pruner), (twin, other) = make(**settings), make(**settings)
    optimizer = adamw(model)
    pruner.attach(optimizer, own_group=False)

    def closure(images, labels):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(images), labels)
        loss.backward()
        return loss

    for batch in batches:
        evaluate = partial(closure, *batch)
        loss = optimizer.step(closure=evaluate) if keyword else optimizer.step(evaluate)
        assert loss.item() > 0
    by_hand(twin, other, adamw(twin), batches)
    assert same(model, twin) and pruner.steps == 20


@pytest.mark.parametrize('rule', ['lasso', 'proximal'])
@pytest.mark.parametrize('options', [dict(), dict(fused=True)])
@pytest.mark.parametrize('unscale', [False, True])
def test_a_scaled_loss_gives_the_steps_of_a_plain_one(options, rule, unscale):
    """A scale that is a power of two leaves no trace in fp32, and a pull of the wrong size would."""
    batches = random_batches(20)
    settings = dict(rule=rule, strength=1e-2, allow_remnants=True)
    (model, pruner), (twin, other) = make(**settings), make(**settings)
    optimizer, plain = adamw(model, **options), adamw(twin, **options)
    scaler = torch.amp.GradScaler('cpu', init_scale=1024.)
    pruner.attach(optimizer)
    other.attach(plain)
    train(model, optimizer, batches, scaler, clip=(lambda: scaler.unscale_(optimizer)) if unscale else None)
    train(twin, plain, batches)
    assert same(model, twin) and pruner.steps == 20


@pytest.mark.parametrize('options', [dict(), dict(fused=True)])
@pytest.mark.parametrize('unscale', [False, True])
def test_a_step_that_the_scaler_skips_moves_nothing(options, unscale):
    batches = random_batches(16)
    model, pruner = make()
    optimizer, scaler = adamw(model, **options), torch.amp.GradScaler('cpu', init_scale=1024.)
    pruner.attach(optimizer)
    train(model, optimizer, batches[:12], scaler)
    before, counted = copy.deepcopy(model.state_dict()), pruner.steps
    images, labels = batches[12]
    assert largest_masked_norm(model.backbone) > 0 and (pruner.steps - pruner.ramp_start) % 4 == 0, 'there is work'
    train(model, optimizer, [(torch.full_like(images, torch.inf), labels)], scaler,
          clip=(lambda: scaler.unscale_(optimizer)) if unscale else None)
    assert pruner.steps == counted == 12 and scaler.get_scale() == 512
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    train(model, optimizer, batches[12:], scaler)
    assert pruner.steps == 16 and all(value.isfinite().all() for value in model.state_dict().values())


def test_clipping_before_the_step_is_of_the_tasks_gradient_and_in_a_later_hook_of_eq_2s():
    def largest_norm(late):
        model, pruner = make(rule='lasso', strength=5., allow_remnants=True, ramp_start=0)
        optimizer, seen = adamw(model), []
        pruner.attach(optimizer)

        def clip(*_):
            clip_grad_norm_(model.parameters(), 1.)

        def look(*_):
            seen.append(torch.cat([value.grad.flatten() for value in model.parameters()]).norm().item())

        if late:
            optimizer.register_step_pre_hook(clip)
        optimizer.register_step_pre_hook(look)
        train(model, optimizer, random_batches(12), clip=None if late else clip)
        return max(seen)

    assert largest_norm(late=False) > 5 and largest_norm(late=True) <= 1 + 1e-4


def test_accumulated_batches_count():
    """Masks follow the schedule of batches, at the steps of the optimizer."""
    batches = random_batches(STEPS)
    model, pruner = make(accumulation=3, interval=4, ramp_start=5)
    optimizer, seen = adamw(model), []
    pruner.attach(optimizer, log=lambda scalars: seen.append((pruner.steps, scalars['wanted'])))
    train(model, optimizer, batches, accumulation=3)
    wanted = {}
    for batch in range(5, STEPS - STEPS % 3, 4):
        wanted[batch // 3 * 3] = wanted_reduction(batch, 5, 0.4, pruner.step, 4)
    assert seen == list(wanted.items()) and pruner.steps == STEPS - STEPS % 3
    assert pruner.shrink == pytest.approx(3 * make()[1].shrink)


@pytest.mark.parametrize('rule', ['lasso', 'proximal', None])
def test_a_continued_run_is_the_uninterrupted_one(rule, tmp_path):
    batches, settings = random_batches(20), dict(rule=rule, allow_remnants=True)

    def parts():
        model, pruner = make(**settings)
        optimizer = adamw(model)
        pruner.attach(optimizer)
        return model, pruner, optimizer, torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 20)

    def run(model, pruner, optimizer, scheduler, batches):
        for batch in batches:
            train(model, optimizer, [batch])
            scheduler.step()

    whole = parts()
    run(*whole, batches)
    first = parts()
    run(*first, batches[:11])
    torch.save([item.state_dict() for item in first], tmp_path / 'run.pth')
    second = parts()
    for item, state in zip(second, torch.load(tmp_path / 'run.pth', weights_only=True)):
        item.load_state_dict(state)
    run(*second, batches[11:])
    assert same(whole[0], second[0]) and whole[1].state_dict() == second[1].state_dict()
    assert not same(whole[0], first[0])


PROCESS = """
import sys
import torch
from plain_loop import adamw, make, random_batches, train
rank, folder = int(sys.argv[1]), sys.argv[2]
torch.set_num_threads(1)
torch.distributed.init_process_group('gloo', init_method=f'file://{folder}/meet', rank=rank, world_size=2)
model, pruner = make()
wrapped = torch.nn.parallel.DistributedDataParallel(model)
optimizer = adamw(wrapped)
pruner.attach(optimizer)
train(wrapped, optimizer, [(images[rank::2], labels[rank::2]) for images, labels in random_batches(20)])
torch.save(model.state_dict(), f'{folder}/{rank}.pth')
torch.distributed.barrier()
"""


def test_two_processes_choose_the_masks_of_one(tmp_path):
    (tmp_path / 'process.py').write_text(PROCESS)
    environment = {**os.environ, 'CUDA_VISIBLE_DEVICES': '',
                   'PYTHONPATH': os.pathsep.join([str(TESTS), str(TESTS.parent)])}
    running = [subprocess.Popen([sys.executable, str(tmp_path / 'process.py'), str(rank), str(tmp_path)],
                                env=environment, stderr=subprocess.PIPE, text=True) for rank in (0, 1)]
    for process in running:
        assert process.wait(timeout=300) == 0, process.stderr.read()[-2000:]
    model, pruner = make()
    optimizer = adamw(model)
    pruner.attach(optimizer)
    train(model, optimizer, random_batches(20))
    first, second = (torch.load(tmp_path / f'{rank}.pth', weights_only=True) for rank in (0, 1))
    assert first.keys() == second.keys() and all(torch.equal(value, second[name]) for name, value in first.items())
    picture, (twin, other) = random_batches(1)[0][0], make()
    twin.load_state_dict(first)
    for mask, theirs in zip(pruner.masks(), other.masks()):
        assert torch.equal(mask.q, theirs.q) and torch.equal(mask.ffn, theirs.ffn) and not mask.ffn.all()
    torch.testing.assert_close(twin(picture), model(picture), atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize('when', ['before', 'after'])
@pytest.mark.parametrize('named', [False, True])
def test_compactors_get_a_group_of_their_own(when, named):
    torch.manual_seed(0)
    model = plain_classifier()
    arguments = dict(lr=1e-3, betas=(0.9, 0.95), weight_decay=0.05)

    def build():
        return torch.optim.AdamW(model.named_parameters() if named else model.parameters(), **arguments)

    optimizer = build() if when == 'before' else None
    pruner = CDCP(model, 0.4, STEPS)
    optimizer = optimizer or build()
    pruner.attach(optimizer, lr_mult=0.1)
    weights, compactors = optimizer.param_groups
    assert (compactors['betas'], compactors['weight_decay'], compactors['lr']) == ((0.99, 0.99), 0., 1e-4)
    assert (weights['betas'], weights['weight_decay'], weights['lr']) == ((0.9, 0.95), 0.05, 1e-3)
    names = {id(value): name for name, value in model.named_parameters()}
    held = [[names[id(value)] for value in group['params']] for group in optimizer.param_groups]
    assert sorted(held[0] + held[1]) == sorted(names.values())
    assert all(name.endswith('.columns') for name in held[1]) and not any(name.endswith('.columns') for name in held[0])
    if named:
        assert held[1] == compactors['param_names']
    pruner.attach(optimizer)
    assert len(optimizer.param_groups) == 2 and optimizer.param_groups[1]['lr'] == 1e-4, 'a group of their own stays'


def test_a_group_for_compactors_alone_is_the_callers_wish():
    model, pruner = make()
    columns = [value for name, value in model.named_parameters() if name.endswith('.columns')]
    others = [value for name, value in model.named_parameters() if not name.endswith('.columns')]
    optimizer = torch.optim.SGD([dict(params=columns, lr=0.5), dict(params=others)], lr=0.1, weight_decay=1.)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1)
    assert 'proximal' in pruner.attach(optimizer)
    assert optimizer.param_groups[0]['lr'] == 0.5 and optimizer.param_groups[0]['weight_decay'] == 1.
    train(model, optimizer, random_batches(3))
    scheduler.step()
    assert pruner.steps == 3


def test_attaching_again_leaves_one_set_of_hooks():
    model, pruner = make()
    optimizer = adamw(model)
    pruner.attach(optimizer)
    pruner.attach(optimizer)
    train(model, optimizer, random_batches(2))
    assert pruner.steps == 2
    pruner.detach()
    train(model, optimizer, random_batches(2))
    assert pruner.steps == 2


def test_the_paper_s_rule_is_taken_where_there_is_time_for_it():
    for steps, rule in ((STEPS, 'proximal'), (10**6, 'lasso')):
        model, pruner = make(rule=None, total_steps=steps)
        assert f'by the {rule} rule' in pruner.attach(adamw(model))
    model, pruner = make(rule=None, total_steps=10**6)
    pruner.attach(torch.optim.SGD(model.parameters(), lr=0.1))
    assert pruner.rule == 'proximal', 'the estimate is for Adam'
    model, pruner = make(rule='lasso')
    assert 'only known for Adam' in pruner.attach(torch.optim.SGD(model.parameters(), lr=0.1))


def test_an_optimizer_that_does_not_fit_is_an_error():
    model, pruner = make()
    with pytest.raises(UserError, match='does not hold 4 of 4 compactors'):
        pruner.attach(torch.optim.AdamW(model.head.parameters()), own_group=False)
    with pytest.raises(UserError, match='a list has no step hooks'):
        pruner.attach([])
    optimizer = adamw(model)
    torch.optim.lr_scheduler.StepLR(optimizer, 1)
    with pytest.raises(UserError, match='attach to the optimizer first, then make the scheduler'):
        pruner.attach(optimizer)
    with pytest.raises(UserError, match='`lr_mult=0`: it has to be a positive number'):
        pruner.attach(adamw(model), lr_mult=0)
    model, pruner = make(rule='lasso')
    with pytest.raises(UserError, match='use `rule=proximal`.*`allow_remnants=True`'):
        pruner.attach(adamw(model))


def test_a_model_that_cannot_be_pruned_is_an_error():
    model, pruner = make()
    with pytest.raises(UserError, match=r'after 0 of 40 steps the masks save 0.0%, and 40.0% only after'):
        pruner.fold()
    with pytest.raises(UserError, match='`model` is a Linear: give a classifier of cait_mm.load'):
        CDCP(torch.nn.Linear(2, 2), 0.4, STEPS)
    with pytest.raises(UserError, match='`total_steps=0`'):
        CDCP(plain_classifier(), 0.4, 0)
    optimizer = adamw(model)
    pruner.attach(optimizer)
    train(model, optimizer, random_batches(STEPS))
    with pytest.raises(UserError, match='`model` is pruned already'):
        CDCP(pruner.fold(pad_to=0), 0.4, STEPS)


def test_a_backbone_alone_can_be_pruned_and_equals_the_masked_one():
    torch.manual_seed(0)
    backbone = plain_backbone()
    pruner = CDCP(backbone, 0.4, STEPS, interval=4, rule='proximal')
    optimizer = adamw(backbone)
    pruner.attach(optimizer)
    for images, _ in random_batches(20):
        backbone.forward_tokens(images)[0].square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    small, picture = pruner.fold(tolerance=None, pad_to=0), random_batches(1)[0][0]
    masked = without_masked(backbone, pruner.masks())
    actual, wanted = (item.eval().forward_tokens(picture)[0] for item in (small, masked))
    torch.testing.assert_close(actual, wanted, atol=1e-5, rtol=1e-5)


def test_torch_and_timm_are_enough(tmp_path):
    assert run_without_openmmlab('''
sys.path.insert(0, 'tests')
from plain_loop import STEPS, adamw, make, random_batches, train
model, pruner = make()
optimizer = adamw(model)
pruner.attach(optimizer)
train(model, optimizer, random_batches(STEPS))
pruner.fold().save(sys.argv[1])
print(f'{pruner.reduction:.2f}', sorted(BLOCKED & {name.partition('.')[0] for name in sys.modules}))
''', tmp_path / 'small.pth') == '0.40 []\n'
