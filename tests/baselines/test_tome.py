"""ToMe against its description written out token by token, and the design's figure of its MACs."""
import pytest
import torch
from mmengine.registry import MODELS

from cait_mm.analysis.flops import count_macs
from cait_mm.baselines.tome import ToMeAttention, ToMeDeiT, match
from cait_mm.classification import Classifier
from cait_mm.classification.distillation import dense_teacher
from cait_mm.errors import UserError

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
    matching = match(metric, count, has_cls)
    total = matching.merge(size)
    means, places = matching.merge(x * size) / total, matching.places(17)
    for item in range(2):
        expected, sizes, where = by_hand(x[item], metric[item], size[item, :, 0], count, has_cls)
        torch.testing.assert_close(means[item], expected)
        torch.testing.assert_close(total[item, :, 0], sizes)
        assert places[item].tolist() == where


def test_cls_stays_first_and_at_most_half_of_the_others_go():
    matching = match(torch.randn(2, 17, 4), 100)
    assert matching.go.shape == (2, 8) and (matching.stay[:, 0] == 0).all() and (matching.places(17)[:, 0] == 0).all()


def test_proportional_attention_is_attention_over_repeated_tokens():
    attention = ToMeAttention(24, 3, 8, 8, head_dim=8)
    x, copies = torch.randn(1, 5, 24), torch.tensor([1, 3, 2, 1, 4])
    repeated = x.repeat_interleave(copies, dim=1)
    first = copies.cumsum(0) - copies
    for fused in (True, False):
        attention.fused_attn = fused
        merged, metric = attention(x, copies.view(1, 5, 1).float())
        torch.testing.assert_close(merged, attention(repeated)[0][:, first], atol=1e-6, rtol=1e-5)
        assert metric.shape == (1, 5, 8)


def test_without_merging_it_is_deit_and_maps_keep_their_shape():
    image = torch.randn(2, 3, 64, 80)
    keywords = dict(arch=ARCH, img_size=(64, 80), out_indices=(1, 3))
    dense = MODELS.build(dict(type='CAITDeiT', **keywords)).eval()
    for r in (0, 2, ((1, 'half'), (2, 'half'))):
        tome = ToMeDeiT(r=r, **keywords).eval()
        tome.load_state_dict(dense.state_dict())
        with torch.no_grad():
            actual, expected = tome(image), dense(image)
        assert [item.shape for item in actual] == [item.shape for item in expected]
        assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(actual, expected)) == (r == 0)
    tokens = [item.shape[1] for item, *_ in ToMeDeiT(r=((1, 'half'), (2, 'half')), **keywords)._merging(image)]
    assert tokens == [21, 11, 6, 6]


@pytest.mark.parametrize('with_cls', [True, False])
def test_restored_patches_hold_the_token_they_ended_in(with_cls):
    tome = ToMeDeiT(r=2, arch=ARCH, out_indices=(3,), with_cls_token=with_cls).eval()
    with torch.no_grad():
        image = torch.randn(1, 3, 64, 64)
        *_, (tokens, source, grid, lost) = tome._merging(image)
        maps, = tome(image)
    assert torch.equal(maps.flatten(2)[0].T, tokens[0, source[0, int(with_cls):]]) and grid == (4, 4)
    assert lost is None


@pytest.mark.parametrize('with_cls', [True, False])
@torch.no_grad()
def test_residual_maps_are_the_dense_ones_where_blocks_add_nothing(with_cls):
    keywords = dict(arch=ARCH, out_indices=(1, 3), with_cls_token=with_cls)
    tome = ToMeDeiT(r=((1, 3), (2, 'half')), restore_mode='residual', **keywords).eval()
    for block in tome.blocks:
        for layer in (block.attn.proj, block.mlp.fc2):
            torch.nn.init.zeros_(layer.weight)
            torch.nn.init.zeros_(layer.bias)
    dense = MODELS.build(dict(type='CAITDeiT', **keywords)).eval()
    dense.load_state_dict(tome.state_dict())
    image = torch.randn(2, 3, 64, 80)
    for item, expected in zip(tome(image), dense(image)):
        torch.testing.assert_close(item, expected, atol=1e-6, rtol=1e-5)
    tome.restore_mode = 'nearest'
    assert not torch.allclose(tome(image)[-1], dense(image)[-1], atol=1e-3)


def test_halving_at_blocks_4_and_7_saves_as_much_as_the_design_says():
    """41.6 % (the design's table), bias of proportional attention not counted, as in the paper's tool."""
    image = torch.rand(1, 3, 224, 224)
    macs = {}
    for name, backbone in (('dense', dict(type='CAITDeiT', arch='deit_small')),
                           ('tome', dict(type='ToMeDeiT', arch='deit_small', r=((4, 'half'), (7, 'half'))))):
        macs[name] = count_macs(Classifier(backbone, num_classes=1000).eval(), (image,))['']
    assert 1 - macs['tome'] / macs['dense'] == pytest.approx(0.416, abs=0.002)


def test_its_default_teacher_merges_nothing():
    student = ToMeDeiT(arch=ARCH, init_cfg=dict(type='Pretrained', checkpoint='dense.pth'), out_indices=(3,))
    teacher = dense_teacher(student, 10, None)
    assert teacher['backbone']['type'] == 'CAITDeiT' and teacher['backbone']['init_cfg']['checkpoint'] == 'dense.pth'


def test_wrong_use_is_a_sentence():
    with pytest.raises(UserError, match='leave merge out'):
        ToMeDeiT(merge=((1, 'horizontal'),))
    with pytest.raises(UserError, match='block 12'):
        ToMeDeiT(r=((12, 3),))


@pytest.mark.parametrize('r', [-1, True, 'x', 2.5, None, ((99, 1),), ((1, -2),), ((1, True),)])
def test_r_of_another_kind_is_a_sentence(r):
    with pytest.raises(UserError, match='^r'):
        ToMeDeiT(r=r, arch='deit_tiny')
