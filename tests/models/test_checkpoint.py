import pytest
import timm
import torch

from cait_mm.errors import UserError
from cait_mm.models import DeiT
from cait_mm.models.checkpoint import read_checkpoint
from cait_mm.models.positions import grid_of, resize_pos_embed

SMALL = dict(name='custom', embed_dim=24, depth=3, num_heads=3, img_size=(64, 64))
MERGE = ((1, 'horizontal'), (2, 'vertical'))


def small(**kwargs):
    return DeiT(**{'arch': SMALL, 'merge': MERGE, 'out_indices': (0, 1, 2), **kwargs}).eval()


def dense_weights():
    """A small DeiT's weights under the official names, head and norm included."""
    weights = small(merge=(), final_norm=True).state_dict()
    return {**weights, 'head.weight': torch.zeros(5, 24), 'head.bias': torch.zeros(5)}


def saved(path, content):
    torch.save(content, path)
    return str(path)


def load(model, path):
    return model.load_checkpoint(read_checkpoint(path))


def test_official_checkpoint_loads_and_reports_the_match(tmp_path):
    weights, path = dense_weights(), tmp_path / 'deit.pth'
    model = small()
    report = str(model.load_checkpoint(read_checkpoint(saved(path, {'model': weights}))))
    for name, value in model.state_dict().items():
        if not name.startswith('merges'):
            assert torch.equal(value, weights[name]), name
    assert 'merges before blocks 1, 2 start as the mean of their tokens' in report
    assert 'not used by this backbone: norm.weight, norm.bias, head.weight, head.bias' in report
    assert f'loaded {len(weights) - 4} tensors' in report


@pytest.mark.parametrize('wrap', [lambda w: w, lambda w: {'state_dict': w}, lambda w: {'model': w},
                                  lambda w: {'state_dict': {f'backbone.{k}': v for k, v in w.items()}},
                                  lambda w: {'model': {f'module.{k}': v for k, v in w.items()}}])
def test_every_usual_wrapping_is_understood(tmp_path, wrap):
    weights = dense_weights()
    model = small(merge=())
    model.load_checkpoint(read_checkpoint(saved(tmp_path / 'a.pth', wrap(weights))))
    assert torch.equal(model.blocks[2].mlp.fc2.weight, weights['blocks.2.mlp.fc2.weight'])


def test_timm_names_are_ours():
    theirs = timm.create_model('deit_small_patch16_224', pretrained=False).state_dict()
    ours = DeiT('deit_small', final_norm=True).state_dict()
    assert {key: value.shape for key, value in theirs.items() if not key.startswith('head')} == {
        key: value.shape for key, value in ours.items()}


@pytest.mark.parametrize('change,message', [
    (lambda w: w.pop('blocks.1.mlp.fc1.weight'), 'missing: blocks.1.mlp.fc1.weight'),
    (lambda w: w.update({'blocks.1.mlp.fc9.weight': w.pop('blocks.1.mlp.fc1.weight')}),
     'missing: blocks.1.mlp.fc1.weight; unexpected: blocks.1.mlp.fc9.weight'),
    (lambda w: w.update({'blocks.0.norm1.bias': torch.zeros(7)}),
     r'misshapen: blocks.0.norm1.bias is \(7,\), wanted \(24,\)'),
    (lambda w: w.update({'blocks.7.norm1.bias': torch.zeros(24)}), 'unexpected: blocks.7.norm1.bias'),
])
def test_a_key_that_does_not_fit_is_named_and_nothing_is_loaded(tmp_path, change, message):
    weights = dense_weights()
    change(weights)
    model, path = small(), saved(tmp_path / 'bad.pth', weights)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(UserError, match=message):
        load(model, path)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_blocks_beyond_the_last_output_are_reported_as_unused(tmp_path):
    model = small(out_indices=(0, 1))
    report = model.load_checkpoint(read_checkpoint(saved(tmp_path / 'a.pth', dense_weights())))
    assert 'blocks.2.norm1.weight' in report.unused


def test_without_cls_its_weights_are_left_out(tmp_path):
    weights, model = dense_weights(), small(with_cls_token=False)
    report = model.load_checkpoint(read_checkpoint(saved(tmp_path / 'a.pth', weights)))
    assert torch.equal(model.pos_embed, weights['pos_embed'][:, 1:]) and 'cls_token' in report.unused


def test_pos_embed_is_resized_at_load_and_the_grids_are_named(tmp_path):
    weights, model = dense_weights(), small(img_size=(96, 160))
    report = str(model.load_checkpoint(read_checkpoint(saved(tmp_path / 'a.pth', weights))))
    assert 'pos_embed resized from 4x4 to 6x10' in report
    assert model.pos_embed.shape == (1, 61, 24)
    assert torch.equal(model.pos_embed[:, 0], weights['pos_embed'][:, 0]), 'CLS keeps its own'


def test_resizing_pos_embed_in_forward_equals_resizing_at_load(tmp_path):
    path, image = saved(tmp_path / 'a.pth', dense_weights()), torch.randn(1, 3, 96, 160)
    at_load, in_forward = small(img_size=(96, 160)), small()
    load(at_load, path)
    load(in_forward, path)
    with torch.no_grad():
        for a, b in zip(at_load(image), in_forward(image)):
            torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)


def test_a_state_dict_of_as_many_positions_on_another_grid_is_an_error():
    wide, square = small(img_size=(32, 128)), small(img_size=(64, 64))
    for state in (wide.state_dict(), torch.nn.ModuleDict({'a': wide}).state_dict()):
        model = square if 'pos_embed' in state else torch.nn.ModuleDict({'a': square})
        with pytest.raises(RuntimeError, match='pos_embed is for a grid of 2x8 patches, and this model has 4x4'):
            model.load_state_dict(state)
    square.load_state_dict(dict(square.state_dict()))
    small(img_size=(32, 128)).load_state_dict(wide.state_dict())


def test_resize_uses_the_stated_grid_and_keeps_a_constant_field():
    pos = torch.cat([torch.full((1, 1, 2), 9.), torch.arange(3.).repeat(2).view(1, 6, 1).expand(1, 6, 2)], dim=1)
    wide = resize_pos_embed(pos, (2, 3), (4, 3))
    assert wide.shape == (1, 13, 2) and wide[0, 0, 0] == 9
    torch.testing.assert_close(wide[0, 1:, 0].view(4, 3), torch.arange(3.).expand(4, 3), msg='columns stay columns')
    with pytest.raises(UserError, match='6 positions, which is no square'):
        grid_of(6, None, (14, 14), (4, 4))


def test_missing_truncated_and_foreign_files_are_a_sentence(tmp_path):
    with pytest.raises(UserError, match='nowhere.pth does not exist: see docs/prepare_data.md#weights'):
        read_checkpoint('nowhere.pth')
    whole = tmp_path / 'whole.pth'
    torch.save({'model': dense_weights()}, whole)
    torn = tmp_path / 'torn.pth'
    torn.write_bytes(whole.read_bytes()[:2000])
    with pytest.raises(UserError, match='is damaged or no weights file'):
        read_checkpoint(str(torn))
    with pytest.raises(UserError, match='holds no state_dict'):
        read_checkpoint(saved(tmp_path / 'empty.pth', {'meta': {}}))


def test_checkpoints_load_with_weights_only_and_no_code(tmp_path):
    class Evil:
        def __reduce__(self):
            return (print, ('ran',))
    path = saved(tmp_path / 'evil.pth', {'state_dict': {'a': torch.zeros(1)}, 'meta': Evil()})
    with pytest.raises(UserError, match='holds an object of the type print, which could run code'):
        read_checkpoint(path)


def test_a_classifiers_training_checkpoint_keeps_its_head(tmp_path):
    weights = {f'backbone.{key}': value for key, value in small().state_dict().items()}
    weights.update({'head.weight': torch.ones(3, 24), 'neck.a': torch.ones(1)})
    path = saved(tmp_path / 'a.pth', {'state_dict': weights})
    state = read_checkpoint(path).state_dict
    assert 'head.weight' in state and 'cls_token' in state and not any('neck' in key for key in state)


def test_compactors_have_to_be_folded_first(tmp_path):
    weights = {**small().state_dict(), 'blocks.0.attn.qkv.parametrizations.weight.original': torch.ones(1)}
    with pytest.raises(UserError, match='still holds compactors: fold it first with python tools/fold.py'):
        load(small(), saved(tmp_path / 'a.pth', weights))
