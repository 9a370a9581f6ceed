import pytest
import torch
import torch.nn.functional as F
from conftest import plain_backbone, plain_classifier
from torch import nn

from cait_mm.analysis.flops import count_params
from cait_mm.errors import UserError
from cait_mm.models import Classifier, LVViT, classifier_backbone
from cait_mm.models.checkpoint import Checkpoint, read_checkpoint
from cait_mm.spec import Spec


def small(**kwargs):
    return plain_backbone('lvvit', **{'out_indices': (0, 1, 2), **kwargs}).eval()


def official_names(depth):
    """The content of the official checkpoint of a depth."""
    stem = [f'conv{i}.weight' for i in (1, 2, 3)] + ['proj.weight', 'proj.bias']
    stem += [f'bn{i}.{name}' for i in (1, 2, 3)
             for name in ('weight', 'bias', 'running_mean', 'running_var', 'num_batches_tracked')]
    block = ['norm1.weight', 'norm1.bias', 'attn.qkv.weight', 'attn.proj.weight', 'attn.proj.bias', 'norm2.weight',
             'norm2.bias', 'mlp.fc1.weight', 'mlp.fc1.bias', 'mlp.fc2.weight', 'mlp.fc2.bias']
    names = {'cls_token', 'pos_embed', 'norm.weight', 'norm.bias', *(f'patch_embed.{name}' for name in stem)}
    names |= {f'blocks.{index}.{name}' for index in range(depth) for name in block}
    return names | {f'{head}.{name}' for head in ('head', 'aux_head') for name in ('weight', 'bias')}


def test_names_and_parameters_are_the_official_ones():
    model = Classifier(classifier_backbone(Spec.dense('lvvit_s')))
    names = {key.removeprefix('backbone.') for key in model.state_dict()}
    assert names == official_names(16)
    assert round(count_params(model) / 1e6, 1) == 26.2, 'the published number, auxiliary head included'


def by_hand(model, image):
    """LV-ViT's classifier in inference, from its weights alone."""
    w = {key.removeprefix('backbone.'): value for key, value in model.state_dict().items()}
    x = image
    for i, stride, padding in ((1, 2, 3), (2, 1, 1), (3, 1, 1)):
        x = F.conv2d(x, w[f'patch_embed.conv{i}.weight'], stride=stride, padding=padding)
        names = ('running_mean', 'running_var', 'weight', 'bias')
        x = F.batch_norm(x, *(w[f'patch_embed.bn{i}.{name}'] for name in names))
        x = x.clamp_min(0)
    x = F.conv2d(x, w['patch_embed.proj.weight'], w['patch_embed.proj.bias'], stride=8).flatten(2).mT
    x = torch.cat([w['cls_token'].expand(len(x), -1, -1), x], 1) + w['pos_embed']
    for index in range(3):
        path = f'blocks.{index}.'
        b = {key.removeprefix(path): value for key, value in w.items() if key.startswith(path)}
        y = F.layer_norm(x, x.shape[-1:], b['norm1.weight'], b['norm1.bias'], 1e-5)
        q, k, v = (y @ b['attn.qkv.weight'].T).unflatten(-1, (3, 3, -1)).permute(2, 0, 3, 1, 4)
        y = ((q * 16**-0.5) @ k.mT).softmax(-1) @ v
        x = x + (y.transpose(1, 2).flatten(2) @ b['attn.proj.weight'].T + b['attn.proj.bias']) / 2
        y = F.layer_norm(x, x.shape[-1:], b['norm2.weight'], b['norm2.bias'], 1e-5)
        y = F.gelu(y @ b['mlp.fc1.weight'].T + b['mlp.fc1.bias'])
        x = x + (y @ b['mlp.fc2.weight'].T + b['mlp.fc2.bias']) / 2
    x = F.layer_norm(x, x.shape[-1:], w['norm.weight'], w['norm.bias'], 1e-5)
    heads = (x @ w['head.weight'].T + w['head.bias'], x @ w['aux_head.weight'].T + w['aux_head.bias'])
    return heads[0][:, 0] + 0.5 * heads[1][:, 1:].max(1).values


def test_equals_lvvit_by_hand():
    model = plain_classifier('lvvit', merge=()).eval()
    for name, parameter in model.state_dict().items():
        if parameter.dtype.is_floating_point:
            nn.init.uniform_(parameter, 0.5, 1.5) if 'running_var' in name else nn.init.normal_(parameter, std=0.3)
    image = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(model(image), by_hand(model, image), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize('size,grid', [((64, 64), (4, 4)), ((512, 683), (32, 43)), ((50, 110), (4, 7))])
def test_maps_have_the_block_input_grid_at_any_size(size, grid):
    with torch.no_grad():
        maps = small()(torch.randn(1, 3, *size))
    assert [tuple(item.shape) for item in maps] == [(1, 48, *grid)] * 3


def test_every_parameter_gets_a_gradient():
    model = plain_classifier('lvvit').train()
    F.cross_entropy(model(torch.randn(2, 3, 64, 64)), torch.tensor([0, 1])).backward()
    assert [name for name, parameter in model.named_parameters() if parameter.grad is None] == []


def test_both_heads_load_and_one_that_lacks_is_named(tmp_path):
    weights = {key.removeprefix('backbone.'): value for key, value in
               plain_classifier('lvvit').state_dict().items()}
    torch.save(weights, tmp_path / 'a.pth')
    model = plain_classifier('lvvit', 3)
    model.load_checkpoint(read_checkpoint(str(tmp_path / 'a.pth')), head_rows=(4, 0, 2))
    assert torch.equal(model.aux_head.weight, weights['aux_head.weight'][[4, 0, 2]])
    torch.save({key: value for key, value in weights.items() if 'aux_head' not in key}, tmp_path / 'b.pth')
    with pytest.raises(UserError, match='missing: aux_head.weight, aux_head.bias'):
        plain_classifier('lvvit').load_checkpoint(read_checkpoint(str(tmp_path / 'b.pth')))


def test_norm_eval_keeps_running_statistics():
    model = small(norm_eval=True).train()
    before = model.patch_embed.bn1.running_mean.clone()
    model(torch.randn(2, 3, 64, 64))
    assert torch.equal(model.patch_embed.bn1.running_mean, before) and model.blocks[0].training


def test_a_checkpoint_of_another_size_is_named():
    state = LVViT('lvvit_m', out_indices=(-1,)).state_dict()
    with pytest.raises(UserError, match=r'is a lvvit_m \(embed_dim=512, depth=20\), this backbone is lvvit_s'):
        LVViT('lvvit_s').load_checkpoint(Checkpoint('m.pth', dict(state)))
