import pytest
import timm
import torch
from conftest import FAMILIES, plain_backbone
from torch import nn

from cait_mm.errors import UserError
from cait_mm.models import Swin
from cait_mm.models.checkpoint import Checkpoint, read_checkpoint

MERGE = (('2.4', 'horizontal'), ('2.5', 'vertical'))


def small(**kwargs):
    return plain_backbone('swin', **kwargs).eval()


@pytest.fixture(scope='module')
def theirs():
    torch.manual_seed(0)
    model = timm.create_model('swin_tiny_patch4_window7_224', pretrained=False).eval()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.05 if parameter.dim() > 1 else 0.2)
    return model


def loaded(theirs, **kwargs):
    model = Swin('swin_tiny', **kwargs).eval()
    return model, model.load_checkpoint(Checkpoint('timm', dict(theirs.state_dict())))


def test_equals_timms_swin_at_224(theirs):
    ours, report = loaded(theirs, out_indices=(-1,), final_norm=True)
    assert set(report.unused) == {'head.fc.weight', 'head.fc.bias'}
    image = torch.randn(2, 3, 224, 224)
    with torch.no_grad():
        tokens, grid = ours.forward_tokens(image)
        torch.testing.assert_close(tokens, theirs.forward_features(image).flatten(1, 2), atol=1e-4, rtol=1e-4)
        pooled = theirs.forward_head(theirs.forward_features(image), pre_logits=True)
        torch.testing.assert_close(ours.pool(tokens), pooled, atol=1e-4, rtol=1e-4)
    assert grid == (7, 7)


def to_mmseg(state):
    """Our (the official) names and channel order as MMSeg's."""
    renamed = {}
    for key, value in state.items():
        if 'downsample.reduction' in key or 'downsample.norm' in key:
            # nn.Unfold puts channels first and walks row by row; the official order is column by column.
            split = value.unflatten(-1, (4, -1))[..., [0, 2, 1, 3], :]
            value = split.transpose(-1, -2).flatten(-2)
        for old, new in (('layers.', 'stages.'), ('patch_embed.proj', 'patch_embed.projection'),
                         ('.attn.', '.attn.w_msa.'), ('mlp.fc1', 'ffn.layers.0.0'), ('mlp.fc2', 'ffn.layers.1')):
            key = key.replace(old, new)
        renamed[key] = value
    return renamed


def test_equals_mmsegs_swin_at_512(theirs):
    # All grids (128, 64, 32, 16) are larger than a window there. On smaller or merged grids MMSeg pads to whole windows
    # of 7 and shifts, ours (timm's, the official) takes smaller windows.
    from mmseg.models.backbones import SwinTransformer
    ours, _ = loaded(theirs)
    for stage in range(4):
        nn.init.normal_(getattr(ours, f'norm{stage}').weight)
    mmseg = SwinTransformer(embed_dims=96, depths=(2, 2, 6, 2), num_heads=(3, 6, 12, 24))
    mmseg.eval()
    missing, unexpected = mmseg.load_state_dict(to_mmseg(ours.state_dict()), strict=False)
    assert not unexpected and all(key.endswith('relative_position_index') for key in missing)
    image = torch.randn(1, 3, 512, 512)
    with torch.no_grad():
        for a, b in zip(ours(image), mmseg(image)):
            torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize('size,grid', [((224, 224), (56, 56)), ((512, 683), (128, 171)), ((800, 1333), (200, 334)),
                                       ((65, 37), (17, 10)), ((32, 32), (8, 8))])
@pytest.mark.parametrize('restore_mode', ['nearest', 'bilinear'])
def test_maps_have_their_usual_strides_at_any_size(size, grid, restore_mode):
    wanted, (height, width) = [], grid
    for stage in range(4):
        wanted.append((1, 16 * 2**stage, height, width))
        height, width = -(-height // 2), -(-width // 2)
    with torch.no_grad():
        maps = small(restore_mode=restore_mode)(torch.randn(1, 3, *size))
        dense = small(merge=())(torch.randn(1, 3, *size))
    assert [tuple(item.shape) for item in maps] == wanted == [tuple(item.shape) for item in dense]
    assert all(item.isfinite().all() and item.is_contiguous() for item in maps)


def test_merges_change_the_third_and_fourth_map_alone(theirs):
    merged, report = loaded(theirs, merge=MERGE)
    dense, _ = loaded(theirs)
    assert 'merges before blocks 2.4, 2.5 start as the mean of their tokens' in str(report)
    image = torch.randn(1, 3, 224, 224)
    with torch.no_grad():
        same = [torch.equal(a, b) for a, b in zip(merged(image), dense(image))]
        third, fourth = merged(image)[2:]
    assert same == [True, True, False, False]
    assert torch.equal(third[..., ::2, ::2], third[..., 1::2, 1::2]), '14x14 restored from 7x7'
    assert torch.equal(fourth[..., :6:2, :6:2], fourth[..., 1:6:2, 1:6:2]), '7x7 restored from 4x4'


def test_every_parameter_gets_a_gradient():
    model = small(drop_path_rate=0.).train()
    sum(item.square().sum() for item in model(torch.randn(2, 3, 64, 64))).backward()
    assert [name for name, parameter in model.named_parameters() if parameter.grad is None] == []


def test_only_the_stages_that_are_needed_are_built(theirs):
    model, report = loaded(theirs, out_indices=(0, 2))
    assert len(model.layers) == 3 and model.layers[2].downsample is None and model.embed_dim == 384
    assert 'layers.3.blocks.0.norm1.weight' in report.unused
    assert 'norms of the outputs 0, 2 start at random' in str(report)


def test_recomputing_gives_the_same_gradients():
    image, grads = torch.randn(2, 3, 64, 64), []
    for with_cp in (False, True):
        torch.manual_seed(0)
        model = small(with_cp=with_cp).train()
        model(image)[-1].square().sum().backward()
        grads.append([parameter.grad for parameter in model.parameters() if parameter.grad is not None])
    assert len(grads[0]) == len(grads[1])
    for a, b in zip(*grads):
        torch.testing.assert_close(a, b)


def test_frozen_stages_stay_as_they_are():
    model = small(frozen_stages=2).train()
    free = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert not any(name.startswith(('patch_embed', 'layers.0', 'layers.1', 'norm0', 'norm1')) for name in free)
    assert any(name.startswith('layers.2') for name in free) and not model.layers[1].training


def test_layers_for_layer_wise_decay():
    model = small()
    layers = {name: model.get_layer_depth(f'backbone.{name}', 'backbone.')[0] for name in model.state_dict()}
    assert layers['patch_embed.proj.weight'] == 0 and layers['layers.0.blocks.0.norm1.weight'] == 1
    assert layers['layers.0.downsample.norm.weight'] == layers['layers.1.blocks.0.norm1.weight'] == 2
    assert layers['layers.2.merges.1.fuse.weight'] == layers['layers.2.blocks.1.attn.qkv.weight'] == 5
    assert layers['norm3.weight'] == 8 and model.get_layer_depth('head.weight', 'backbone.') == (8, 9)


def test_official_names_load_and_computed_buffers_are_left_out(tmp_path):
    model = small(merge=(), out_indices=(-1,), final_norm=True)
    weights = {**model.state_dict(), 'head.weight': torch.zeros(5, 128), 'head.bias': torch.zeros(5)}
    weights['layers.1.blocks.1.attn_mask'] = torch.zeros(4, 16, 16)
    weights['layers.1.blocks.1.attn.relative_position_index'] = torch.zeros(16, 16)
    torch.save({'model': weights}, tmp_path / 'a.pth')
    other = small(merge=(), out_indices=(-1,), final_norm=True)
    report = other.load_checkpoint(read_checkpoint(str(tmp_path / 'a.pth')))
    assert report.unused == ['head.weight', 'head.bias']
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in other.state_dict().items())
    del weights['layers.2.blocks.0.mlp.fc1.bias']
    with pytest.raises(UserError, match='missing: layers.2.blocks.0.mlp.fc1.bias'):
        other.load_checkpoint(Checkpoint('a.pth', weights))


def test_bias_tables_of_another_window_are_resized():
    model = small(merge=(), arch={**FAMILIES['swin']['arch'], 'window_size': 8})
    state = small(merge=()).state_dict()
    report = model.load_checkpoint(Checkpoint('a.pth', dict(state)))
    assert 'bias tables resized from window 4 to 8' in str(report)
    key = 'layers.0.blocks.0.attn.relative_position_bias_table'
    wide, table = model.state_dict()[key], state[key]
    assert wide.shape == (225, 1) and wide.view(15, 15)[7, 7] == pytest.approx(table.view(7, 7)[3, 3].item(), abs=1e-6)


@pytest.mark.parametrize('kwargs,message', [
    (dict(out_indices=(4,)), 'swin_tiny has stages 0 to 3'),
    (dict(frozen_stages=5), 'swin_tiny has 4 stages'),
    (dict(arch='deit_tiny'), 'Swin cannot be a deit_tiny: it builds swin models'),
    (dict(merge=(('1.0', 'horizontal'),)), 'swin_tiny merges in stage 2'),
])
def test_wrong_use_is_a_sentence(kwargs, message):
    with pytest.raises(UserError, match=message):
        Swin(**kwargs)


def test_a_checkpoint_of_another_size_is_named(theirs):
    message = r'is a swin_tiny \(embed_dim=96, depths=\(2, 2, 6, 2\)\), this backbone is swin_small'
    with pytest.raises(UserError, match=message):
        Swin('swin_small').load_checkpoint(Checkpoint('timm', dict(theirs.state_dict())))
