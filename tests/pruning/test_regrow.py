"""S2ViTE's sparse training against its description written out, and a fold that computes the same."""
import math

import pytest
import torch
from conftest import plain_backbone, plain_classifier
from torch import nn

from cait_mm.errors import UserError
from cait_mm.models import Classifier
from cait_mm.models.deit import DeiT
from cait_mm.pruning.cdcp import CDCP
from cait_mm.pruning.regrow import S2ViTE, regrown

ARCH = dict(embed_dim=24, depth=3, num_heads=6, img_size=(64, 64))


def classifier() -> Classifier:
    """With biases: a neuron without weights and bias has no gradient, and never grows again."""
    torch.manual_seed(0)
    model = Classifier(DeiT(ARCH, out_indices=(2,), final_norm=True), num_classes=5).train()
    for name, parameter in model.named_parameters():
        if name.endswith('bias'):
            nn.init.normal_(parameter)
    return model


def step(model, optimizer, seed):
    torch.manual_seed(seed)
    optimizer.zero_grad()
    nn.functional.cross_entropy(model(torch.randn(6, 3, 64, 64)), torch.arange(6) % 5).backward()
    optimizer.step()


def test_the_least_go_and_the_steepest_come():
    alive = torch.tensor([True, True, True, False, False, True])
    worth, growth = torch.tensor([5., 1., 3., 0., 0., 2.]), torch.tensor([9., 4., 9., 1., 5., 3.])
    assert regrown(alive, worth, growth, 0.5).tolist() == [True, True, True, False, True, False]
    assert regrown(alive, worth, growth, 0.26).tolist() == [True, True, True, False, True, False]
    assert regrown(alive, worth, growth, 0.01).tolist() == [True, False, True, False, True, True]


def written_out(block, alive, values, grad, rate):
    """The next heads and neurons in use, one at a time."""
    heads = [index for index, own in enumerate(alive.heads) if own]
    taylor = [sum(abs(float((v * g).sum())) for v, g in zip(values[:, :, head], grad[:, :, head]))
              for head in range(len(alive.heads))]
    steep = [float(grad[:, :, head].abs().sum()) for head in range(len(alive.heads))]
    neurons = [index for index, own in enumerate(alive.ffn) if own]
    fc1, fc2 = block.mlp.fc1.weight, block.mlp.fc2.weight
    norm = [float(fc1[i].abs().sum() + fc2[:, i].abs().sum()) for i in range(len(fc1))]
    pull = [float(fc1.grad[i].abs().sum() + fc2.grad[:, i].abs().sum()) for i in range(len(fc1))]
    for used, worth, growth in ((heads, taylor, steep), (neurons, norm, pull)):
        count = math.ceil(rate * len(used))
        for _ in range(count):
            used.remove(min(used, key=lambda index: worth[index]))
        for _ in range(count):
            used.append(max((index for index in range(len(worth)) if index not in used), key=lambda i: growth[i]))
    return sorted(heads), sorted(neurons)


def test_choices_are_those_written_out_and_stop_at_their_time():
    model, seen = classifier(), {}
    pruner = S2ViTE(model, heads=0.5, neurons=0.4, total_steps=20, interval=5, rate=0.6)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    pruner.attach(optimizer)
    first = pruner.alive
    assert [(int(block.heads.sum()), int(block.ffn.sum())) for block in first] == [(3, 38)] * 3

    def keep(index):
        def hook(_, inputs):
            seen[index] = [inputs[0].detach().unflatten(-1, (6, 4))]
            inputs[0].register_hook(lambda grad: seen[index].append(grad.unflatten(-1, (6, 4))))
        return hook

    for index, block in enumerate(model.backbone.blocks):
        block.attn.proj.register_forward_pre_hook(keep(index))
    for number in range(1, 21):
        before = pruner.alive
        step(model, optimizer, number)
        if number in (5, 10, 15):
            rate = 0.005 + 0.595 * (1 + math.cos(math.pi * number / 20)) / 2
            for index, (block, old, new) in enumerate(zip(model.backbone.blocks, before, pruner.alive)):
                heads, neurons = written_out(block, old, *seen[index], rate)
                assert new.heads.nonzero()[:, 0].tolist() == heads and new.ffn.nonzero()[:, 0].tolist() == neurons
        else:
            assert pruner.alive is before
        for block, alive in zip(model.backbone.blocks, pruner.alive):
            weights = block.attn.qkv.weight.unflatten(0, (3, 6, 4))
            assert not weights[:, ~alive.heads].any() and not block.mlp.fc1.weight[~alive.ffn].any()
            assert not block.mlp.fc2.weight[:, ~alive.ffn].any()
    assert any(not torch.equal(old.heads, new.heads) for old, new in zip(first, pruner.alive))
    assert any(not torch.equal(old.ffn, new.ffn) for old, new in zip(first, pruner.alive))


def test_a_fold_computes_the_same_and_a_run_goes_on():
    runs = []
    for stop in (None, 4):
        model = classifier()
        pruner = S2ViTE(model, heads=0.7, neurons=0.5, total_steps=8, interval=3)
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
        pruner.attach(optimizer)
        for number in range(stop or 8):
            step(model, optimizer, number)
        if stop:
            states = [part.state_dict() for part in (model, pruner, optimizer)]
            model = classifier()
            pruner = S2ViTE(model, heads=0.7, neurons=0.5, total_steps=8, interval=3, seed=1)
            optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
            pruner.attach(optimizer)
            for part, state in zip((model, pruner, optimizer), states):
                part.load_state_dict(state)
            for number in range(stop, 8):
                step(model, optimizer, number)
        runs.append(model.eval())
        small, image = pruner.fold(), torch.randn(2, 3, 64, 64)
        assert [(block.num_heads, block.ffn_dim) for block in small.spec.blocks] == [(4, 48)] * 3
        torch.testing.assert_close(small(image), model(image), atol=1e-5, rtol=1e-5)
    for one, other in zip(*(model.parameters() for model in runs)):
        assert torch.equal(one, other)


@pytest.mark.parametrize('family', ['lvvit', 'swin'])
def test_other_families_fold(family, tmp_path):
    model = plain_classifier(family).train()
    pruner = S2ViTE(model, heads=0.6, neurons=0.3, total_steps=10)
    image = torch.randn(2, 3, 64, 64)
    for name, parameter in model.named_parameters():
        if name.endswith('bias'):
            nn.init.normal_(parameter)
    small = pruner.fold()
    torch.testing.assert_close(small(image), model.eval()(image), atol=1e-4, rtol=1e-4)
    assert any(block.num_heads < dense.num_heads for block, dense in zip(small.spec.blocks, model.spec.blocks))
    small.save(tmp_path / 'small.pth')


@pytest.mark.parametrize('settings, words', [
    (dict(heads=0), 'heads=0'), (dict(neurons=1.5), 'neurons=1.5'), (dict(interval=0), 'interval=0'),
    (dict(total_steps=0), 'total_steps=0'), (dict(until=None), 'until=None'),
])
def test_what_cannot_be_is_a_sentence(settings, words):
    with pytest.raises(UserError, match=words):
        S2ViTE(classifier(), **{'heads': 0.5, 'neurons': 0.5, 'total_steps': 10, **settings})
    model = classifier()
    CDCP(model, target=0.3, total_steps=100)
    with pytest.raises(UserError, match='compactors'):
        S2ViTE(model, 0.5, 0.5, 10)
    with pytest.raises(UserError, match='token reducer'):
        S2ViTE(DeiT(ARCH, tokens=dict(type='EViT', at=(1,)), out_indices=(2,)), 0.5, 0.5, 10)
    with pytest.raises(UserError, match='is pruned'):
        S2ViTE(plain_backbone('deit', ffn_dim=8, out_indices=(2,)), 0.5, 0.5, 10)
