"""ToMe against its description written out token by token, and the design's figure of its MACs."""
import pytest
import torch

from cait_mm.backbones import CAITDeiT
from cait_mm.classification.distillation import dense_teacher
from cait_mm.errors import UserError
from cait_mm.macs import reduction
from cait_mm.models.base import last
from cait_mm.models.deit import DeiT
from cait_mm.ops.attention import Attention
from cait_mm.spec import make_spec
from cait_mm.tokens import ToMe
from cait_mm.tokens.tome import match

ARCH = dict(embed_dim=24, depth=4, num_heads=3, img_size=(64, 64))


def by_hand(x, metric, size, count, has_cls=True):
    """Lists of tokens, merged one pair at a time: what the paper's section 3 says, in the order of its code.

    With CLS the even tokens that stay keep theirs; without, they stand by how alike their partner is (merge.py of
    facebookresearch/ToMe, commit af95e4b: only ``if class_token`` sorts).
    """
    tokens = range(len(x))
    evens, odds = tokens[::2], tokens[1::2]
    cosine = torch.nn.functional.cosine_similarity
    best = {even: max(odds, key=lambda odd: cosine(metric[even], metric[odd], dim=0).item()) for even in evens
            if even or not has_cls}
    ranked = sorted(best, key=lambda even: -cosine(metric[even], metric[best[even]], dim=0).item())
    closest = ranked[:count]
    groups = {token: [token] for token in tokens if token not in closest}
    for even in closest:
        groups[best[even]].append(even)
    order = [even for even in (evens if has_cls else ranked) if even not in closest] + list(odds)
    sizes = torch.stack([size[groups[token]].sum() for token in order])
    means = torch.stack([(x[groups[token]] * size[groups[token]][:, None]).sum(0) for token in order]) / sizes[:, None]
    places = [next(order.index(token) for token, group in groups.items() if member in group) for member in tokens]
    return means, sizes, places


@pytest.mark.parametrize('count', [1, 3, 8])
@pytest.mark.parametrize('has_cls', [True, False])
def test_merging_is_the_one_written_out(count, has_cls):
    x, metric, size = torch.randn(2, 17, 6), torch.randn(2, 17, 4), torch.randint(1, 5, (2, 17, 1)).float()
    prefix = int(has_cls)
    matching = match(metric[:, prefix:], count, prefix)
    total = matching.merge(size[:, prefix:])
    means = matching.merge(x[:, prefix:] * size[:, prefix:]) / total
    places = matching.places(17 - prefix) + prefix
    for item in range(2):
        expected, sizes, where = by_hand(x[item], metric[item], size[item, :, 0], count, has_cls)
        torch.testing.assert_close(means[item], expected[prefix:])
        torch.testing.assert_close(total[item, :, 0], sizes[prefix:])
        assert places[item].tolist() == where[prefix:]


@pytest.mark.parametrize('prefix', [0, 1, 2, 5])
def test_at_most_half_of_the_patches_go_and_none_of_the_tokens_in_front(prefix):
    model = DeiT(ARCH, tokens=dict(type='ToMe', r='half'), out_indices=(3,)) if prefix == 1 else None
    matching = match(torch.randn(2, 16, 4), 100, prefix)
    assert matching.go.shape == (2, 8) and sorted(set(matching.places(16)[0].tolist())) == list(range(8))
    if model is not None:
        assert [tokens.x.shape[1] for tokens in model._stream(torch.randn(1, 3, 64, 64))] == [9, 5, 3, 2]


def test_the_bias_of_merged_tokens_is_attention_over_repeated_tokens():
    attention = Attention(24, 3, 8, 8, head_dim=8)
    x, copies = torch.randn(1, 5, 24), torch.tensor([1, 3, 2, 1, 4])
    repeated = x.repeat_interleave(copies, dim=1)
    first = copies.cumsum(0) - copies
    for fused in (True, False):
        attention.fused_attn = fused
        merged = attention(x, copies.float().log()[None, None, None])
        torch.testing.assert_close(merged, attention(repeated)[:, first], atol=1e-6, rtol=1e-5)


def test_maps_keep_their_shape_and_without_merging_it_is_deit():
    image = torch.randn(2, 3, 64, 80)
    keywords = dict(arch=ARCH, img_size=(64, 80), out_indices=(1, 3))
    dense = DeiT(**keywords).eval()
    for r in (0, 2, ((1, 'half'), (2, 'half'))):
        tome = DeiT(tokens=dict(type='ToMe', r=r), **keywords).eval()
        tome.load_state_dict(dense.state_dict())
        with torch.no_grad():
            actual, expected = tome(image), dense(image)
        assert [item.shape for item in actual] == [item.shape for item in expected]
        assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(actual, expected)) == (r == 0)
    tokens = [item.x.shape[1] for item in tome._stream(image)]
    assert tokens == [21, 11, 6, 6]


@pytest.mark.parametrize('with_cls', [True, False])
def test_restored_patches_hold_the_token_they_ended_in(with_cls):
    tome = DeiT(ARCH, tokens=ToMe(2), out_indices=(3,), with_cls_token=with_cls).eval()
    with torch.no_grad():
        image = torch.randn(1, 3, 64, 64)
        tokens = last(tome._stream(image))
        maps, = tome(image)
    assert torch.equal(maps.flatten(2)[0].T, tokens.x[0, tokens.record.source[0]]) and tokens.grid == (4, 4)
    assert tokens.lost is None


@pytest.mark.parametrize('with_cls', [True, False])
@torch.no_grad()
def test_residual_maps_are_the_dense_ones_where_blocks_add_nothing(with_cls):
    keywords = dict(arch=ARCH, out_indices=(1, 3), with_cls_token=with_cls)
    tome = DeiT(tokens=dict(type='ToMe', r=((1, 3), (2, 'half'))), restore_mode='residual', **keywords).eval()
    for block in tome.blocks:
        for layer in (block.attn.proj, block.mlp.fc2):
            torch.nn.init.zeros_(layer.weight)
            torch.nn.init.zeros_(layer.bias)
    dense = DeiT(**keywords).eval()
    dense.load_state_dict(tome.state_dict())
    image = torch.randn(2, 3, 64, 80)
    for item, expected in zip(tome(image), dense(image)):
        torch.testing.assert_close(item, expected, atol=1e-6, rtol=1e-5)
    tome.restore_mode = 'nearest'
    assert not torch.allclose(tome(image)[-1], dense(image)[-1], atol=1e-3)


@torch.no_grad()
def test_its_linear_layers_start_as_the_identity_and_act_on_merged_tokens():
    image = torch.randn(2, 3, 64, 64)
    plain = DeiT(ARCH, tokens=ToMe(2), out_indices=(3,)).eval()
    param = DeiT(ARCH, tokens=ToMe(2, linear=(0, 3)), out_indices=(3,)).eval()
    report = param.load_state_dict(plain.state_dict(), strict=False)
    assert report.missing_keys == [f'tokens.{block}.{name}' for block in (0, 3) for name in ('weight', 'bias')]
    torch.testing.assert_close(param(image)[0], plain(image)[0])
    param.tokens['3'].bias.add_(1)
    assert not torch.allclose(param(image)[0], plain(image)[0], atol=1e-2)


@pytest.mark.parametrize('tokens, percent', [
    (dict(r=((4, 'half'), (7, 'half'))), 41.6),  # the paper's ToMe*
    (dict(r=13), 41.3),  # ToMe's own paper
])
def test_it_saves_what_the_papers_say(tokens, percent):
    """The products that find the pairs are counted here, and not in the papers."""
    spec = make_spec('deit_small', tokens=dict(type='ToMe', **tokens))
    assert 100 * reduction(spec) == pytest.approx(percent, abs=0.2)


def test_its_default_teacher_merges_nothing():
    student = CAITDeiT(ARCH, tokens=ToMe(), init_cfg=dict(type='Pretrained', checkpoint='dense.pth'), out_indices=(3,))
    teacher = dense_teacher(student, 10, None)
    assert teacher['backbone']['type'] == 'CAITDeiT' and teacher['backbone']['init_cfg']['checkpoint'] == 'dense.pth'
    assert 'tokens' not in teacher['backbone']


@pytest.mark.parametrize('r', [-1, True, 'x', 2.5, None, ((99, 1),), ((1, -2),), ((1, True),), ((1, 2), (1, 3)), 5j])
def test_r_of_another_kind_is_a_sentence(r):
    with pytest.raises(UserError, match=r'r|block 99'):
        DeiT('deit_tiny', tokens=dict(type='ToMe', r=r))
