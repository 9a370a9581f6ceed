"""A config's backbone takes its weights, and the widths of an export, from ``init_cfg``."""
import logging

import pytest
import safetensors.torch
import torch
from conftest import FAMILIES

from cait_mm.backbones import CAITDeiT
from cait_mm.classification import Classifier
from cait_mm.errors import UserError
from cait_mm.models.checkpoint import read_checkpoint

MERGE = FAMILIES['deit']['merge']


def small(**kwargs):
    return CAITDeiT(**{'arch': FAMILIES['deit']['arch'], 'merge': MERGE, 'out_indices': (0, 1, 2), **kwargs}).eval()


def saved(path, content):
    torch.save(content, path)
    return str(path)


def export(model, path):
    return saved(path, {'state_dict': model.state_dict(), 'meta': {'cait_spec': model.spec.to_dict()}})


def pretrained(path, **kwargs):
    return small(init_cfg=dict(type='Pretrained', checkpoint=path), **kwargs)


def test_an_export_rebuilds_its_widths_without_a_second_mention(tmp_path):
    narrow = small(qk_dim=[8, 3, 5], v_dim=[4, 8, 2], ffn_dim=[96, 40, 11])
    path = export(narrow, tmp_path / 'export.pth')
    model = pretrained(path)
    model.init_weights()
    assert model.spec == narrow.spec
    image = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        for a, b in zip(model(image), narrow(image)):
            assert torch.equal(a, b)


def test_an_export_of_another_model_is_refused(tmp_path):
    path = export(small(merge=((1, 'vertical'),)), tmp_path / 'export.pth')
    with pytest.raises(UserError, match=r"it merges 1:vertical, wanted 1:horizontal, 2:vertical; .* "
                       r"set merge=\(\(1, 'vertical'\),\)\."):
        pretrained(path)


def test_an_export_without_its_merges_is_refused(tmp_path):
    model = small()
    weights = {key: value for key, value in model.state_dict().items() if key != 'merges.2.fuse.weight'}
    path = saved(tmp_path / 'a.pth', {'state_dict': weights, 'meta': {'cait_spec': model.spec.to_dict()}})
    with pytest.raises(UserError, match='missing: merges.2.fuse.weight'):
        pretrained(path).init_weights()


def test_real_deit_tiny_loads_strictly(deit_tiny, caplog):
    model = CAITDeiT('deit_tiny', ((4, 'horizontal'), (7, 'vertical')), img_size=512,
                     init_cfg=dict(type='Pretrained', checkpoint=str(deit_tiny)))
    logging.getLogger('mmengine').setLevel(logging.INFO)
    model.init_weights()
    weights = torch.load(deit_tiny, weights_only=True)['model']
    assert torch.equal(model.blocks[11].attn.qkv.weight, weights['blocks.11.attn.qkv.weight'])
    assert model.pos_embed.shape == (1, 32 * 32 + 1, 192)


def test_merges_can_be_put_into_an_export_that_has_none(tmp_path):
    narrow = small(merge=(), qk_dim=[8, 3, 5], ffn_dim=[96, 40, 11])
    model = pretrained(export(narrow, tmp_path / 'export.pth'))
    model.init_weights()
    assert model.spec.blocks == narrow.spec.blocks and len(model.merges) == 2
    assert torch.equal(model.blocks[1].attn.qkv.weight, narrow.blocks[1].attn.qkv.weight)
    assert 'merges before blocks 1, 2 start as the mean' in str(
        model.load_checkpoint(read_checkpoint(str(tmp_path / 'export.pth'))))


def test_safetensors_load_into_a_classifier_head_included(tmp_path):
    config = {**FAMILIES['deit'], 'merge': ()}
    source = Classifier(config, num_classes=5).eval()
    weights = {name.removeprefix('backbone.'): value for name, value in source.state_dict().items()}
    safetensors.torch.save_file(weights, tmp_path / 'model.safetensors')
    init_cfg = dict(type='Pretrained', checkpoint=str(tmp_path / 'model.safetensors'))
    model = Classifier({**config, 'init_cfg': init_cfg}, num_classes=5).eval()
    model.init_weights()
    image = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(model(image), source(image))


def test_a_missing_file_is_a_sentence():
    with pytest.raises(UserError, match='nowhere.pth does not exist: see docs/prepare_data.md#weights'):
        pretrained('nowhere.pth').init_weights()
