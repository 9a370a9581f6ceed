import pytest
import safetensors.torch
import timm
import torch
from timm.models.vision_transformer import VisionTransformer

from cait_mm.errors import UserError
from cait_mm.models import Classifier, DeiT, classifier_backbone, load_classifier
from cait_mm.models.checkpoint import read_checkpoint
from cait_mm.spec import Spec

ARCH = dict(embed_dim=24, depth=2, num_heads=3, img_size=(64, 64))


def theirs(**kwargs):
    """A small ViT of timm with nothing at its initial value."""
    model = VisionTransformer(img_size=64, embed_dim=24, depth=2, num_heads=3, num_classes=5, **kwargs).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return model


def saved(path, content):
    torch.save(content, path)
    return str(path)


def loaded(path):
    model = Classifier(classifier_backbone(Spec.dense(ARCH)), num_classes=5).eval()
    return model, str(model.load_checkpoint(read_checkpoint(str(path))))


def same(model, other, size=64):
    image = torch.randn(2, 3, size, size)
    with torch.no_grad():
        torch.testing.assert_close(model(image), other(image), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize('prefix', ['', 'module.', '_orig_mod.', 'module._orig_mod.', '_orig_mod.module.', 'model.',
                                    'model._orig_mod.', 'module.model.'])
@pytest.mark.parametrize('place', ['state_dict', 'model', 'model_ema', 'state_dict_ema', 'module', None])
def test_every_place_and_wrapper_is_understood(tmp_path, prefix, place):
    vit = theirs()
    weights = {prefix + key: value for key, value in vit.state_dict().items()}
    model, _ = loaded(saved(tmp_path / 'a.pth', {place: weights, 'epoch': 3} if place else weights))
    same(model, vit)


def test_lightnings_other_parts_are_left_out_and_said(tmp_path):
    vit = theirs()
    weights = {**{f'model.{key}': value for key, value in vit.state_dict().items()}, 'criterion.weight': torch.ones(5)}
    model, report = loaded(saved(tmp_path / 'a.ckpt', {'state_dict': weights, 'pytorch-lightning_version': '2.0'}))
    same(model, vit)
    assert '1 tensors outside model., such as criterion.weight, are left out' in report


@pytest.mark.parametrize('keys,taken', [
    (('state_dict', 'state_dict_ema'), 'state_dict_ema'),  # timm: the best checkpoint is chosen by it
    (('model', 'model_ema'), 'model'),  # DeiT: its accuracy is the model's
])
def test_of_two_sets_of_weights_the_report_says_which(tmp_path, keys, taken):
    models = {key: theirs() for key in keys}
    model, report = loaded(saved(tmp_path / 'a.pth', {key: value.state_dict() for key, value in models.items()}))
    same(model, models[taken])
    other, = set(keys) - {taken}
    assert f'the weights are those under {taken}, not those under {other}' in report


def test_safetensors_load(tmp_path):
    vit = theirs()
    safetensors.torch.save_file(vit.state_dict(), tmp_path / 'model.safetensors')
    same(load_classifier(tmp_path / 'model.safetensors', ARCH), vit)


@pytest.mark.parametrize('names', ['timm', 'deit'])
def test_deit_iii_computes_the_same(tmp_path, names):
    """No position for CLS, and layer scale: https://github.com/facebookresearch/deit, models_v2.py."""
    vit = theirs(no_embed_class=True, init_values=0.1)
    weights = vit.state_dict()
    assert weights['pos_embed'].shape[1] == 16
    if names == 'deit':
        weights = {key.replace('ls1.gamma', 'gamma_1').replace('ls2.gamma', 'gamma_2'): value
                   for key, value in weights.items()}
    model, report = loaded(saved(tmp_path / 'a.pth', {'model': weights}))
    same(model, vit)
    assert 'its 16 positions have none for CLS, which gets zeros' in report
    assert 'layer scale is multiplied into attn.proj and mlp.fc2' in report


def test_the_real_deit_iii_has_these_names(tmp_path):
    weights = timm.create_model('deit3_small_patch16_224', pretrained=False).state_dict()
    load_classifier(saved(tmp_path / 'a.pth', weights), 'deit_small')


@pytest.mark.parametrize('more,message', [
    ('dist_token', r'is a distilled DeiT, with a token of its own \(dist_token\)'),
    ('reg_token', r'is a ViT with register tokens \(reg_token\)'),
])
def test_models_with_other_tokens_are_called_what_they_are(tmp_path, more, message):
    path = saved(tmp_path / 'a.pth', {**theirs().state_dict(), more: torch.zeros(1, 1, 24)})
    with pytest.raises(UserError, match=f'{message}.*name its architecture as timm does'):
        loaded(path)


def test_our_own_files_of_an_odd_grid_are_not_taken_for_deit_iii(tmp_path):
    ours = DeiT(ARCH, img_size=(48, 80), out_indices=(1,))  # 3x5 patches and CLS: 16 positions
    for content in ({'state_dict': ours.state_dict(), 'meta': {'cait_spec': ours.spec.to_dict()}},
                    {'state_dict': {f'backbone.{key}': value for key, value in ours.state_dict().items()}}):
        positions = read_checkpoint(saved(tmp_path / 'a.pth', content)).state_dict['pos_embed']
        assert torch.equal(positions, ours.pos_embed)


@pytest.mark.parametrize('content,message', [
    ([], 'it is a list'), ({}, 'it is empty'), ({'pupil': {}, 'master': {}}, 'it has pupil, master'),
    ({'state_dict': {'a': 1}}, 'it has a'), (torch.ones(2), 'it is a Tensor'), (5, 'it is a int'),
])
def test_the_keys_of_a_file_without_weights_are_named(tmp_path, content, message):
    with pytest.raises(UserError, match=rf'holds no state_dict \({message}.*\): its weights have to stand under'):
        read_checkpoint(saved(tmp_path / 'a.pth', content))


@pytest.mark.parametrize('spec,message', [
    ([], 'is not a cait_mm spec'), ('deit', 'is not a cait_mm spec'), ({'version': 1}, 'lacks arch, merges, blocks')])
def test_a_broken_spec_names_the_file(tmp_path, spec, message):
    with pytest.raises(UserError, match=f'a.pth carries a broken spec: .*{message}'):
        read_checkpoint(saved(tmp_path / 'a.pth', {'state_dict': theirs().state_dict(), 'meta': {'cait_spec': spec}}))


def test_a_spec_of_more_than_the_file_holds_is_refused_before_anything_is_built(tmp_path):
    spec = DeiT('deit_base').spec.to_dict()
    with pytest.raises(UserError, match='carries a spec of 84934656 parameters and holds'):
        read_checkpoint(saved(tmp_path / 'a.pth', {'state_dict': theirs().state_dict(), 'meta': {'cait_spec': spec}}))
