"""NViT's saliency by slopes along groups, and its latency term as the greedy loop that it describes."""
import logging

import pytest
import torch
from scored import HEADS, batches_of, classifier, close, row, scaled, slope

from cait_mm.errors import UserError
from cait_mm.latency.table import LatencyTable
from cait_mm.pruning.scores.nvit import LEAST, nvit

CURVES = {'attention': {1: 1., 4: 1.2, 8: 2.}, 'ffn': {1: 1., 40: 1.5, 96: 4.}}
TOKENS = {17: 1., 9: 0.5, 5: 0.4}
"""Of the three blocks, and what a block with as many costs of the first one's time."""


def table_of(arch):
    """A table of the small classifier with :data:`CURVES`."""
    ms = {part: {'': {tokens: {width: factor * ms for width, ms in curve.items()} for tokens, factor in TOKENS.items()}}
          for part, curve in CURVES.items()}
    return LatencyTable(arch, (64, 64), {}, {**ms, 'stem': {'': {17: 1.}}, 'head': {'': {5: 1.}}}, prefix=1)


def test_a_group_is_one_index_in_all_heads():
    model = classifier()
    batches = batches_of(model)
    score = nvit(model, batches)[1]
    for name, index in (('q', 3), ('v', 6)):
        rows = [row(name, head, index) for head in range(HEADS)]
        wanted = sum((slope(lambda factor: scaled(model, 1, 'qkv', rows, factor), batch) / 2)**2  # noqa: B023
                     for batch in batches) / len(batches)
        values = getattr(score, name)
        assert close(values[0, index], wanted, 1e-4) and (values == values[:1]).all()
    wanted = sum(slope(lambda factor: scaled(model, 1, 'fc1', [11], factor), batch)**2 for batch in batches) / 2
    assert close(score.ffn[11], wanted, 1e-4) and torch.equal(score.q, score.k)


def test_latency_is_the_greedy_loop(monkeypatch, tmp_path):
    """One cut after the other: the channel whose score less what its cut saves now is the least."""
    for kind in LEAST:
        monkeypatch.setitem(LEAST, kind, 3)
    model = classifier()
    batches = batches_of(model, 1)
    plain, weight = nvit(model, batches), 2.
    path = tmp_path / 'table.json'
    table_of(model.spec.arch).save(path)
    scores = nvit(model, batches, path, weight)

    def ms(block, kind, width):
        """Half of an attention's time is that of queries and keys, half that of values."""
        points = sorted(CURVES['ffn' if kind == 'ffn' else 'attention'].items())
        for (low, first), (high, second) in zip(points, points[1:]):
            if width <= high:
                whole = first + (width - low) * (second - first) / (high - low)
                return list(TOKENS.values())[block] * whole / (1 if kind == 'ffn' else 2)

    modules = {(index, kind): getattr(block, name)[0] if name != 'ffn' else block.ffn
               for index, block in enumerate(plain) for kind, name in (('qk', 'q'), ('v', 'v'), ('ffn', 'ffn'))}
    left = {key: sorted(range(len(values)), key=lambda i: float(values[i])) for key, values in modules.items()}  # noqa: B023
    greedy = []
    while any(left.values()):
        def net(key):
            width = len(left[key])
            gain = ms(*key, width) - ms(*key, max(1, width - 1)) if width > 3 else 0.
            return float(modules[key][left[key][0]]) - weight / 1000 * gain
        key = min((key for key in left if left[key]), key=net)
        greedy.append((*key, left[key].pop(0)))
    ours = {(index, kind, i): float(value) for index, block in enumerate(scores)
            for kind, values in (('qk', block.q[0]), ('v', block.v[0]), ('ffn', block.ffn))
            for i, value in enumerate(values)}
    along = [ours[key] for key in greedy]
    assert all(a <= b + 1e-15 for a, b in zip(along, along[1:])), 'the loop takes channels in ascending score'
    before = {key: place for place, key in enumerate(sorted(ours, key=lambda key: float(modules[key[:2]][key[2]])))}
    assert [before[key] for key in greedy] != list(range(len(greedy))), 'the table matters'


def test_without_a_table_it_says_so(caplog):
    model = classifier()
    with caplog.at_level(logging.INFO, 'cait_mm'):
        nvit(model, batches_of(model, 1))
    assert 'no latency table' in caplog.text


def test_a_table_of_another_model_is_an_error():
    model = classifier()
    with pytest.raises(UserError, match='the model is a classifier, custom'):
        nvit(model, batches_of(model, 1), table_of(classifier('vit').spec.arch))
