import copy

import pytest
import torch
from conftest import FAMILIES
from mmengine.registry import MODELS
from torch import nn

from cait_mm.analysis.flops import count_params
from cait_mm.errors import UserError
from cait_mm.macs import reduction
from cait_mm.models import classifier_backbone
from cait_mm.models.checkpoint import Checkpoint
from cait_mm.ops.compactor import add_backbone_compactors, add_block_compactors, compactor_of
from cait_mm.pruning.fold import channel_scores, fold, keep_all, removable
from cait_mm.pruning.selection import BlockChannels, Consistency, pruned_spec, select


def build(family):
    return MODELS.build(dict(FAMILIES[family], out_indices=(-1,), final_norm=True)).eval().double()


def beyond_merging(spec):
    """A reduction that takes channels too, in every family."""
    return reduction(spec) + 0.1


def tokens(model, image):
    return model.forward_tokens(image)[0]


@pytest.fixture(params=list(FAMILIES))
def trained(request):
    """A backbone whose compactors look as after training: anything, with distinct column norms."""
    backbone = build(request.param)
    for block in backbone.flat_blocks():
        for compactor in add_block_compactors(block.attn, block.mlp.fc1):
            nn.init.normal_(compactor.columns, std=0.3)
        for layer in (block.attn.qkv, block.mlp.fc1):
            for parametrized in layer.parametrizations.values():
                nn.init.normal_(parametrized.original, std=0.3)
    return backbone


def zeroed(backbone, masks):
    """The training model with the columns that are cut at zero."""
    model = copy.deepcopy(backbone)
    for block, mask, score in zip(model.flat_blocks(), masks, channel_scores(backbone)):
        cut = removable(mask, score)
        with torch.no_grad():
            stacked = compactor_of(block.attn.qkv).columns
            stacked *= torch.cat([cut.q, cut.k, cut.v])[..., None]
            compactor_of(block.mlp.fc1).columns *= cut.ffn[None, :, None]
    return model


@pytest.mark.parametrize('pad', [0, 4])
@pytest.mark.parametrize('consistency', [Consistency(), Consistency(head=False), Consistency(attention=False),
                                         Consistency(False, False)])
def test_folded_equals_the_masked_training_model(trained, consistency, pad):
    masks = select(trained.spec, channel_scores(trained), beyond_merging(trained.spec), consistency)
    folded = fold(trained, masks, tolerance=None, pad_to=pad)
    model = folded.backbone
    assert not any('parametrizations' in name for name in folded.state_dict) and not model.training
    image = torch.randn(2, 3, 64, 64).double()
    with torch.no_grad():
        torch.testing.assert_close(tokens(model, image), tokens(zeroed(trained, masks), image), atol=1e-9, rtol=1e-9)
        assert not torch.allclose(tokens(model, image), tokens(trained, image), atol=1e-3), 'something was cut'
    assert folded.selected == pruned_spec(trained.spec, masks)
    if pad:
        assert all(block.qk_dim == block.v_dim and block.qk_dim % 4 == block.ffn_dim % 4 == 0
                   for block in folded.spec.blocks)
    else:
        assert folded.spec == folded.selected
        assert count_params(model) < count_params(build(trained.family))


def test_an_export_of_it_loads_strictly(trained):
    masks = select(trained.spec, channel_scores(trained), beyond_merging(trained.spec))
    folded = fold(trained, masks, tolerance=None)
    model = classifier_backbone(folded.spec)
    report = model.load_checkpoint(Checkpoint('export.pth', dict(folded.state_dict), folded.spec))
    assert report.unused == [] and report.loaded == len(model.state_dict())


def test_channels_that_have_not_vanished_are_not_cut_unless_told(trained):
    masks = select(trained.spec, channel_scores(trained), beyond_merging(trained.spec))
    with pytest.raises(UserError, match='has not vanished'):
        fold(trained, masks)
    with pytest.raises(UserError, match='has not vanished'):
        fold(trained, masks, tolerance=float('nan'))
    gone = zeroed(trained, masks)
    assert fold(gone, masks).largest_cut == 0
    assert fold(trained, masks, tolerance=None).largest_cut > 0.1


def test_nothing_cut_is_the_same_function(trained):
    scores = channel_scores(trained)
    everything = [score.map(lambda values: torch.ones_like(values, dtype=torch.bool)) for score in scores]
    folded = fold(trained, everything)
    model = build(trained.family)
    model.load_state_dict(folded.state_dict, strict=True)
    image = torch.randn(1, 3, 64, 64).double()
    with torch.no_grad():
        torch.testing.assert_close(tokens(model, image), tokens(trained, image), atol=1e-9, rtol=1e-9)
    assert folded.spec == trained.spec and folded.largest_cut == 0


def test_uneven_heads_lose_as_much_as_the_poorest_can():
    mask = BlockChannels(q=torch.tensor([[0, 0, 1, 1], [0, 1, 1, 0]]).bool(),
                         k=torch.tensor([[0, 0, 1, 1], [0, 1, 1, 1]]).bool(),
                         v=torch.tensor([[1, 1, 1, 1], [0, 0, 1, 1]]).bool(), ffn=torch.tensor([1, 0]).bool())
    score = BlockChannels(q=torch.tensor([[2., 1., 3., 4.], [1., 2., 3., 4.]]),
                          k=torch.tensor([[2., 1., 3., 4.], [1., 2., 3., 4.]]),
                          v=torch.ones(2, 4), ffn=torch.ones(2))
    cut = removable(mask, score)
    assert cut.q.tolist() == [[True, False, True, True], [False, True, True, True]] and torch.equal(cut.q, cut.k)
    assert cut.v.all() and cut.ffn.tolist() == [True, False]


def test_channels_by_layer_and_by_module_are_the_same():
    qkv, ffn = torch.arange(18.).view(6, 3), torch.arange(5.)[None]
    channels = BlockChannels.of_layers(qkv, ffn)
    assert channels.k.tolist() == [[6, 7, 8], [9, 10, 11]] and channels.ffn.tolist() == [0, 1, 2, 3, 4]
    assert all(map(torch.equal, channels.by_layer(), (qkv, ffn)))
    doubled = channels.map(lambda values: 2 * values)
    assert dict(doubled.items()).keys() == {'q', 'k', 'v', 'ffn'} and torch.equal(doubled.v, 2 * channels.v)


def test_a_backbone_of_feature_maps_stays_one():
    backbone = MODELS.build(dict(FAMILIES['deit'], out_indices=(1, 2), in_channels=4)).eval()
    add_backbone_compactors(backbone)
    small, image = fold(backbone, keep_all(backbone)).backbone, torch.randn(1, 4, 64, 64)
    with torch.no_grad():
        for actual, wanted in zip(small(image), backbone(image), strict=True):
            torch.testing.assert_close(actual, wanted, atol=1e-5, rtol=1e-5)
    assert type(small) is type(backbone) and not any('parametrizations' in name for name in small.state_dict())
