"""Channels of plain ViTs: planes of rotary positions, gates, LayerScale, and norms that read all channels."""
import pytest
import torch
from torch import nn

from cait_mm.arch import get_arch
from cait_mm.errors import UserError
from cait_mm.macs import reduction
from cait_mm.models import Classifier, ViT, classifier_backbone, load_classifier
from cait_mm.ops.compactor import add_backbone_compactors, block_compactors
from cait_mm.ops.planes import per_channel, per_plane
from cait_mm.pruning.calibrate import add_calibrated_compactors, calibrate
from cait_mm.pruning.compress import compress
from cait_mm.pruning.fold import channel_scores, fold, padded, removable, without_masked
from cait_mm.pruning.selection import Consistency, select
from cait_mm.spec import make_spec

TINY = dict(embed_dim=48, depth=3, num_heads=3, img_size=(64, 64))
MERGE = ((1, 'horizontal'), (2, 'vertical'))
FORMS = {
    'dinov2': dict(reg_tokens=4, no_embed_class=True, init_values=0.1),
    'dinov3': dict(reg_tokens=4, pos_embed=False, init_values=0.1, ffn='swiglu', qkv_bias=False,
                   rope=dict(type='dinov3', rotate_half=True)),
    'eva02': dict(ffn='swiglu', scale_mlp_norm=True, scale_attn_norm=True, rope=dict(ref_feat_shape=(3, 3))),
    'mixed': dict(rope=dict(type='mixed', temperature=10.), init_values=0.1),
    'aimv2': dict(ffn='swiglu', qkv_bias=False, proj_bias=False, norm_layer='rmsnorm', global_pool='avg',
                  embed_norm=True, class_token=False),
    'vit22b': dict(block='parallel', qk_norm=True, init_values=0.1),
    'beit': dict(pos_embed=False, rel_pos_bias=True, init_values=0.1),
    'siglip': dict(class_token=False, global_pool='map', block='post'),
}


def shaken(model):
    for value in model.parameters():
        nn.init.normal_(value, std=0.2)
    return model.eval()


def classifier(form, merge=MERGE):
    return shaken(Classifier(classifier_backbone(make_spec({**TINY, **FORMS[form]}, merge, family='vit')), 5))


def beyond_merging(spec):
    """A target that cuts channels; where norms keep most of them whole, there is not much to cut."""
    return reduction(spec) + (0.03 if len(spec.arch.whole) > 1 else 0.15)


def images(count=2):
    return [torch.randn(4, 3, 64, 64) for _ in range(count)]


def apart(ours, theirs):
    return float((ours - theirs).abs().max() / theirs.abs().max())


@torch.no_grad()
@pytest.mark.parametrize('form', FORMS)
def test_calibration_changes_no_output(form):
    model, image = classifier(form), torch.randn(2, 3, 64, 64)
    before = model(image)
    add_calibrated_compactors(model.backbone, calibrate(model.backbone, images()))
    assert apart(model(image), before) < 1e-5


@torch.no_grad()
@pytest.mark.parametrize('consistency', [Consistency(), Consistency(False, False)], ids=['consistent', 'free'])
@pytest.mark.parametrize('pad_to', [0, 4])
@pytest.mark.parametrize('form', FORMS)
def test_a_fold_is_exact(form, pad_to, consistency):
    """The folded model is the model whose cut columns are zero, with norms that read all channels left whole."""
    backbone, image = classifier(form).backbone, torch.randn(2, 3, 64, 64)
    add_backbone_compactors(backbone)
    for block in backbone.blocks:
        for compactor in block_compactors(block):
            compactor.columns.add_(0.1 * torch.randn_like(compactor.columns))
    masks = select(backbone.spec, channel_scores(backbone), beyond_merging(backbone.spec), consistency)
    folded = fold(backbone, masks, tolerance=None, pad_to=pad_to)
    assert folded.selected.is_pruned and folded.spec == padded(folded.selected, pad_to)
    wanted = without_masked(backbone, masks).forward_tokens(image)[0]
    assert apart(folded.backbone.forward_tokens(image)[0], wanted) < 1e-5
    whole, dense = backbone.arch.whole, backbone.arch.dense_block(0)
    for block in folded.spec.blocks:
        assert 'q' not in whole or block.qk_dim == dense.qk_dim
        assert 'v' not in whole or block.v_dim == dense.v_dim
        assert 'ffn' not in whole or block.ffn_dim == dense.ffn_dim


@torch.no_grad()
@pytest.mark.parametrize('form', ['dinov3', 'eva02', 'mixed'])
def test_planes_go_as_one_in_queries_and_keys(form):
    backbone = classifier(form).backbone
    add_backbone_compactors(backbone)
    for block in backbone.blocks:
        for compactor in block_compactors(block):
            compactor.columns.mul_(torch.rand_like(compactor.columns[..., :1]))
    planes, scores = backbone.arch.planes, channel_scores(backbone)
    for mask, score in zip(select(backbone.spec, scores, beyond_merging(backbone.spec)), scores):
        cut = removable(mask, score, planes)
        for item in (mask.q, mask.k, cut.q):
            pairs = per_plane(item, planes)
            assert torch.equal(pairs[..., 0], pairs[..., 1]) and torch.equal(per_channel(pairs[..., 0], planes), item)
        assert torch.equal(cut.q, cut.k)


@torch.no_grad()
@pytest.mark.parametrize('form', FORMS)
def test_what_is_compressed_is_saved_and_comes_back(tmp_path, form):
    model, image = classifier(form, ()), torch.randn(2, 3, 64, 64)
    before = model(image)
    small = compress(model, images(), beyond_merging(make_spec(model.spec.arch, MERGE)), MERGE, pad_to=2)
    assert small.spec.is_pruned and torch.equal(model(image), before)
    small.save(tmp_path / 'a.pth')
    again = load_classifier(tmp_path / 'a.pth')
    assert torch.equal(again(image), small(image))
    dense = ViT(spec=small.spec, out_indices=(0, 2), restore_mode='residual').eval()
    assert [tuple(item.shape) for item in dense(torch.randn(1, 3, 70, 33))] == [(1, 48, 5, 3)] * 2


def test_half_a_plane_is_refused():
    arch = get_arch({**TINY, **FORMS['dinov3']}, family='vit')
    with pytest.raises(UserError, match='qk_dim=7: under rotary positions channels come in pairs'):
        ViT(arch, qk_dim=7, out_indices=0)
