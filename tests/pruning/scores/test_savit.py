"""SAViT's criteria and Hessian by finite differences, and its shares by trying all of them."""
from copy import deepcopy

import pytest
import torch
from scored import HEADS, WIDTH, batches_of, classifier, close, loss_of, row, scaled, slope

from cait_mm.pruning.scores.savit import criteria, curvature, part_of_heads, savit, worth_of

VALUES = slice(2 * HEADS * WIDTH, None)
"""The rows of all values in qkv."""


def test_a_heads_criterion_is_the_squared_slope_along_it_and_spreads_over_its_channels():
    model = classifier()
    batches = batches_of(model)
    found = criteria(deepcopy(model), batches)[1]

    def squared(part, rows):
        return sum(slope(lambda factor: scaled(model, 1, part, rows, factor), batch)**2 for batch in batches) / 2

    for head in range(HEADS):
        head_rows = [row('v', head, channel) for channel in range(WIDTH)]
        own = [squared('qkv', [place]) for place in head_rows]
        for channel in range(WIDTH):
            assert close(found.v[head, channel], squared('qkv', head_rows) * own[channel] / sum(own), 1e-4)
        assert close(found.q[head].sum(), squared('qkv', head_rows), 1e-4)
    assert close(found.ffn[5], squared('fc1', [5]), 1e-4) and torch.equal(found.q, found.k)


def test_the_hessian_is_the_mean_over_layers_and_those_before():
    model, step = classifier(), 1e-3
    batch = batches_of(model, 1)[0]

    def mixed(first, second):
        """The second derivative by two factors, each of one layer's heads ('qkv') or hidden channels ('fc1')."""
        total = 0.
        for a in (1, -1):
            for b in (1, -1):
                changed = model
                for (layer, part), sign in ((first, a), (second, b)):
                    rows = VALUES if part == 'qkv' else slice(None)
                    changed = scaled(changed, layer, part, rows, 1 + sign * step)
                total += a * b * loss_of(changed, batch)
        total /= 4 * step**2
        if first == second:  # both factors act on one layer: (1 + s)(1 + t) has the slope of the loss in it too
            rows = VALUES if first[1] == 'qkv' else slice(None)
            total -= slope(lambda factor: scaled(model, *first, rows, factor), batch)
        return total

    wanted = [0., 0., 0.]
    for layer in range(3):
        for before in range(layer + 1):
            for place, (a, b, weights) in enumerate((('qkv', 'qkv', 1), ('qkv', 'fc1', 4), ('fc1', 'fc1', 16))):
                wanted[place] += mixed((layer, a), (before, b)) / (layer + 1) / 3 / weights
    assert all(close(ours, theirs, 1e-3) for ours, theirs in zip(curvature(model, [batch]), wanted))


@pytest.mark.parametrize('entries', [(1., .2, 1.), (3., .1, .1), (1., 2., 1.), (.5, .1, -1.), (-2., 0., 1.)])
def test_the_shares_cost_least_of_all_that_save_as_much(entries):
    aa, ab, bb = entries
    worth, saved = (0.4, 0.5), 0.1

    def damage(part):
        a, b = part * saved / worth[0], (1 - part) * saved / worth[1]
        return aa * a * a + 2 * ab * a * b + bb * b * b

    best = min((place / 1000 for place in range(1001)), key=damage)
    assert abs(part_of_heads(entries, worth) - best) < 1e-3


def test_channels_take_their_turn_by_these_shares(monkeypatch):
    model = classifier()
    batches = batches_of(model)
    entries = (1., .2, .6)
    monkeypatch.setitem(savit.__globals__, 'curvature', lambda *_: entries)
    scores, worth = savit(deepcopy(model), batches), worth_of(model.spec)
    part = part_of_heads(entries, worth)
    assert 0.1 < part < 0.9 and sum(worth) < 1
    for saved in (0.05, 0.15):
        for of, names, share in ((worth[0], 'qv', part), (worth[1], ('ffn',), 1 - part)):
            values = torch.cat([getattr(block, name).flatten() for block in scores for name in names])
            assert abs(float((values < saved).double().mean()) - saved * share / of) < 0.02
    found = criteria(deepcopy(model), batches)
    pairs = [(float(keys[rank]), float(turn)) for block, score in zip(found, scores) for name in 'qv'
             for keys in [getattr(block, name).sort(1).values.min(0).values]
             for rank, turn in enumerate(getattr(score, name)[0].sort().values)]
    assert [turn for _, turn in sorted(pairs)] == sorted(turn for _, turn in pairs), 'in the order of the criterion'


def test_what_goes_with_heads_and_ffns_is_counted_by_the_macs():
    spec = classifier(merge=()).spec
    tokens, dim = 17, 24
    block = tokens * dim * 3 * dim + 2 * tokens * tokens * dim + tokens * dim * dim, 2 * tokens * dim * 96
    ratio = block[0] / block[1]
    worth = worth_of(spec)
    assert worth[0] / worth[1] == pytest.approx(ratio, rel=1e-6)
