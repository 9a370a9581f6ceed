import torch
import torch.nn.functional as F
from torch import nn

from cait_mm.ops.attention import Attention
from cait_mm.ops.compactor import (
    Compactor,
    add_block_compactors,
    add_compactor,
    compactor_of,
    split_qkv,
)


def randomise(compactor):
    nn.init.normal_(compactor.columns, std=0.3)
    return compactor


def test_identity_at_start_changes_nothing():
    layer, x = nn.Linear(5, 6), torch.randn(3, 5)
    before = layer(x)
    add_compactor(layer, groups=2)
    assert torch.equal(layer(x), before)


def test_on_weights_equals_on_activations():
    layer, x = nn.Linear(5, 6), torch.randn(3, 7, 5)
    plain = layer(x).unflatten(-1, (2, 3))
    compactor = randomise(add_compactor(layer, groups=2))
    wanted = torch.einsum('bngi,gji->bngj', plain, compactor.columns).flatten(-2)
    torch.testing.assert_close(layer(x), wanted, atol=1e-6, rtol=1e-5)


def test_a_zero_column_makes_its_channel_exactly_zero():
    layer = nn.Linear(5, 6)
    compactor = randomise(add_compactor(layer))
    with torch.no_grad():
        compactor.columns[0, 4] = 0
    out = F.gelu(layer(torch.randn(9, 5)))
    assert (out[:, 4] == 0).all() and (out[:, [0, 1, 2, 3, 5]].abs().sum(0) > 0).all()
    assert compactor.column_norms()[0, 4] == 0


def test_gradients_reach_weight_bias_and_compactor():
    layer = nn.Linear(5, 6)
    randomise(add_compactor(layer))
    layer(torch.randn(4, 5)).square().sum().backward()
    names = [name for name, _ in layer.named_parameters()]
    assert sorted(names) == ['parametrizations.bias.original', 'parametrizations.weight.0.columns',
                             'parametrizations.weight.original'], 'the shared compactor is one parameter'
    assert all(parameter.grad.abs().sum() > 0 for parameter in layer.parameters())


def test_a_blocks_compactors_work_per_head():
    attention, fc1 = Attention(12, 3, 4, 4, head_dim=4), nn.Linear(12, 20)
    add_block_compactors(attention, fc1)
    stacked = compactor_of(attention.qkv)
    assert isinstance(stacked, Compactor) and stacked.columns.shape == (9, 4, 4)
    assert compactor_of(fc1).column_norms().shape == (1, 20)
    with torch.no_grad():
        stacked.columns[3 + 1, 2] = 0  # k, head 1, channel 2
    q, k, v = split_qkv(stacked.column_norms(), heads=3)
    assert k[1, 2] == 0 and (q > 0).all() and (v > 0).all() and int((k == 0).sum()) == 1
    rows = attention.qkv.weight.view(3, 3, 4, 12)
    assert (rows[1, 1, 2] == 0).all() and int((rows.abs().sum(-1) == 0).sum()) == 1
