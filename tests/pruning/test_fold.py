import copy

import pytest
import torch
from torch import nn

from cait_mm.analysis.flops import count_params
from cait_mm.backbones import CAITDeiT
from cait_mm.backbones.checkpoint import Checkpoint
from cait_mm.errors import UserError
from cait_mm.ops.compactor import add_block_compactors, compactor_of
from cait_mm.pruning.fold import channel_scores, fold, removable
from cait_mm.pruning.selection import BlockChannels, Consistency, pruned_spec, select

ARCH = dict(embed_dim=24, depth=3, num_heads=3, img_size=(64, 64))
MERGE = ((1, 'horizontal'), (2, 'vertical'))


def build(**kwargs):
    return CAITDeiT(arch=ARCH, merge=MERGE, out_indices=(0, 1, 2), **kwargs).eval()


@pytest.fixture
def trained():
    """A backbone whose compactors look as after training: anything, with distinct column norms."""
    backbone = build()
    for block in backbone.blocks:
        for compactor in add_block_compactors(block.attn, block.mlp.fc1):
            nn.init.normal_(compactor.columns, std=0.3)
        nn.init.normal_(block.attn.qkv.parametrizations.bias.original)
        nn.init.normal_(block.mlp.fc1.parametrizations.bias.original)
    return backbone


def zeroed(backbone, masks):
    """The training model with the columns that are cut at zero."""
    model = copy.deepcopy(backbone)
    for block, mask, score in zip(model.blocks, masks, channel_scores(backbone)):
        cut = removable(mask, score)
        with torch.no_grad():
            stacked = compactor_of(block.attn.qkv).columns
            stacked *= torch.cat([cut.q, cut.k, cut.v])[..., None]
            compactor_of(block.mlp.fc1).columns *= cut.ffn[None, :, None]
    return model


@pytest.mark.parametrize('pad', [None, 4])
@pytest.mark.parametrize('consistency', [Consistency(), Consistency(head=False), Consistency(attention=False),
                                         Consistency(False, False)])
def test_folded_equals_the_masked_training_model(trained, consistency, pad):
    masks = select(trained.spec, channel_scores(trained), 0.3, consistency)
    folded = fold(trained, masks, tolerance=None, pad_heads_to=pad)
    model = CAITDeiT(spec=folded.spec, out_indices=(0, 1, 2)).eval()
    model.load_state_dict(folded.state_dict, strict=True)
    image = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        for a, b in zip(model(image), zeroed(trained, masks)(image)):
            torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)
        assert not torch.allclose(model(image)[2], trained(image)[2], atol=1e-3), 'something was cut'
    if pad:
        assert all(block.qk_dim == block.v_dim and block.qk_dim % 4 == 0 for block in folded.spec.blocks)
    else:
        assert folded.spec == pruned_spec(trained.spec, masks)
        assert count_params(model) < count_params(build())


def test_an_export_of_it_loads_strictly(trained):
    masks = select(trained.spec, channel_scores(trained), 0.3)
    folded = fold(trained, masks, tolerance=None)
    model = CAITDeiT(spec=folded.spec, out_indices=(0, 1, 2))
    report = model.load_checkpoint(Checkpoint('export.pth', dict(folded.state_dict), folded.spec))
    assert report.unused == [] and report.loaded == len(model.state_dict())


def test_channels_that_have_not_vanished_are_not_cut_unless_told(trained):
    masks = select(trained.spec, channel_scores(trained), 0.3)
    with pytest.raises(UserError, match='has not vanished'):
        fold(trained, masks)
    gone = zeroed(trained, masks)
    assert fold(gone, masks).largest_cut == 0
    assert fold(trained, masks, tolerance=None).largest_cut > 0.1


def test_nothing_cut_is_the_same_function(trained):
    scores = channel_scores(trained)
    everything = [BlockChannels(*(torch.ones_like(getattr(score, name), dtype=torch.bool)
                                  for name in ('q', 'k', 'v', 'ffn'))) for score in scores]
    folded = fold(trained, everything)
    model = build()
    model.load_state_dict(folded.state_dict, strict=True)
    image = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(model(image)[2], trained(image)[2], atol=1e-5, rtol=1e-5)
    assert folded.spec == trained.spec and folded.largest_cut == 0


def test_uneven_heads_lose_what_the_poorest_can():
    mask = BlockChannels(q=torch.tensor([[0, 0, 1, 1], [0, 1, 1, 0]]).bool(),
                         k=torch.tensor([[0, 0, 1, 1], [0, 1, 1, 1]]).bool(),
                         v=torch.tensor([[1, 1, 1, 1], [0, 0, 1, 1]]).bool(), ffn=torch.tensor([1, 0]).bool())
    score = BlockChannels(q=torch.tensor([[2., 1., 3., 4.], [1., 2., 3., 4.]]),
                          k=torch.tensor([[2., 1., 3., 4.], [1., 2., 3., 4.]]),
                          v=torch.ones(2, 4), ffn=torch.ones(2))
    cut = removable(mask, score)
    assert cut.q.tolist() == [[True, False, True, True], [False, True, True, True]] and torch.equal(cut.q, cut.k)
    assert cut.v.all() and cut.ffn.tolist() == [True, False]
