"""NViT's saliency by slopes along groups, and its latency term as the greedy loop that it describes."""
import json
import logging

import pytest
import torch
from scored import HEADS, batches_of, classifier, close, row, scaled, slope

from cait_mm.errors import UserError
from cait_mm.pruning.scores.nvit import LEAST, nvit

TABLE = {'qk': {1: 1., 4: 1.2, 8: 2.}, 'v': {'1': 1., '8': 2.}, 'ffn': {1: 1., 40: 1.5, 96: 4.}}


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
    path.write_text(json.dumps(TABLE))
    scores = nvit(model, batches, path, weight)

    def ms(kind, width):
        points = sorted((int(w), value) for w, value in TABLE[kind].items())
        for (low, first), (high, second) in zip(points, points[1:]):
            if width <= high:
                return first + (width - low) * (second - first) / (high - low)

    modules = {(index, kind): getattr(block, name)[0] if name != 'ffn' else block.ffn
               for index, block in enumerate(plain) for kind, name in (('qk', 'q'), ('v', 'v'), ('ffn', 'ffn'))}
    left = {key: sorted(range(len(values)), key=lambda i: float(values[i])) for key, values in modules.items()}  # noqa: B023
    greedy = []
    while any(left.values()):
        def net(key):
            width = len(left[key])
            gain = ms(key[1], width) - ms(key[1], max(1, width - 1)) if width > 3 else 0.
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


@pytest.mark.parametrize('change,message', [
    ({'v': None}, 'those of v are missing'), ({'qk': {1: 1., 4: 2.}}, '1 to 8 are wanted'),
    ({'ffn': {1: 'x', 96: 2.}}, 'those of ffn'), ({'ffn': {'wide': 1., 96: 2.}}, 'those of ffn'),
    ({'qk': {8: 1.}}, 'two widths or more'),
])
def test_a_table_that_does_not_fit_is_an_error(change, message):
    model = classifier()
    with pytest.raises(UserError, match=message):
        nvit(model, batches_of(model, 1), {**TABLE, **change})
