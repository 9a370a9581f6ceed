import logging

import pytest
import timm
import torch
from conftest import FAMILIES, plain_classifier
from mmengine.registry import MODELS

from cait_mm import models
from cait_mm.errors import UserError
from cait_mm.models import Classifier, classifier_backbone, load_classifier
from cait_mm.models.checkpoint import read_checkpoint
from cait_mm.ops.compactor import add_backbone_compactors
from cait_mm.spec import make_spec
from cait_mm.version import __version__


def narrow(family):
    """A merged classifier of odd widths with nothing at its initial value, and its provenance."""
    arch = models.FAMILIES[family](FAMILIES[family]['arch'], out_indices=0).arch
    spec = make_spec(arch, FAMILIES[family]['merge'], qk_dim=5, v_dim=[3] * arch.depth, ffn_dim=17)
    model = Classifier(classifier_backbone(spec), 5, {'source': 'a.pth', 'target': 0.3, 'cdcp': None}).eval()
    for value in model.parameters():
        torch.nn.init.normal_(value, std=0.2)
    return model


def logits(model):
    with torch.no_grad():
        return model(torch.ones(2, 3, 64, 64).cumsum(-1) / 64)


@pytest.mark.parametrize('name,arch', [('deit_tiny_patch16_224', 'deit_tiny'),
                                       ('swin_tiny_patch4_window7_224', 'swin_tiny')])
def test_equals_timms_classifier(tmp_path, name, arch):
    theirs = timm.create_model(name, pretrained=False, num_classes=7).eval()
    torch.nn.init.normal_(theirs.get_classifier().weight)
    torch.save(theirs.state_dict(), tmp_path / 'a.pth')
    ours, image = load_classifier(tmp_path / 'a.pth', arch), torch.randn(2, 3, 224, 224)
    with torch.no_grad():
        torch.testing.assert_close(ours(image), theirs(image), atol=1e-4, rtol=1e-4)
    assert ours.num_classes == 7 and ours.provenance == {'source': 'a.pth'} and not ours.training


@pytest.mark.parametrize('family', FAMILIES)
def test_the_registered_classifier_is_the_plain_one(tmp_path, family):
    plain = plain_classifier(family).eval()
    registered = MODELS.build(dict(type='Classifier', backbone=FAMILIES[family], num_classes=5)).eval()
    assert isinstance(registered, Classifier) and isinstance(registered.backbone, models.Backbone)
    assert list(plain.state_dict()) == [key for key in registered.state_dict() if 'data_preprocessor' not in key]
    registered.load_state_dict(plain.state_dict())
    registered.save(tmp_path / 'a.pth')
    assert torch.equal(logits(registered), logits(plain))
    assert torch.equal(logits(load_classifier(tmp_path / 'a.pth')), logits(plain))


@pytest.mark.parametrize('family', FAMILIES)
def test_a_saved_classifier_comes_back_bit_for_bit(tmp_path, family):
    model, path = narrow(family), tmp_path / 'new' / 'a.pth'
    model.save(path)
    again = load_classifier(path)
    assert torch.equal(logits(again), logits(model))
    assert again.spec == model.spec and again.provenance == model.provenance
    again.save(tmp_path / 'b.pth')
    first, second = (torch.load(file, weights_only=True) for file in (path, tmp_path / 'b.pth'))
    assert first['meta'] == second['meta'] and list(first['state_dict']) == list(second['state_dict'])


@pytest.mark.parametrize('family', FAMILIES)
def test_an_export_holds_plain_types_in_the_form_that_earlier_versions_read(tmp_path, family):
    model = narrow(family)
    model.save(tmp_path / 'a.pth')
    content = torch.load(tmp_path / 'a.pth', weights_only=True)
    assert list(content) == ['state_dict', 'meta'] and type(content['state_dict']) is dict
    heads = ['head.weight', 'head.bias'] + ['aux_head.weight', 'aux_head.bias'] * (family == 'lvvit')
    assert list(content['state_dict']) == [*model.backbone.state_dict(), *heads]
    grid = {} if family == 'swin' else {'cait_grid': [4, 4]}
    assert content['meta'] == {'cait_spec': model.spec.to_dict(), 'cait_mm_version': __version__, **grid,
                               'source': 'a.pth', 'target': 0.3, 'cdcp': None}


def test_an_export_keeps_the_size_that_its_positions_are_for(tmp_path):
    model = plain_classifier('deit', img_size=(32, 128)).eval()
    model.save(tmp_path / 'a.pth')
    again = load_classifier(tmp_path / 'a.pth')
    assert again.backbone.img_size == (32, 128) and torch.equal(again.backbone.pos_embed, model.backbone.pos_embed)
    assert load_classifier(tmp_path / 'a.pth', img_size=64).backbone.grid == (4, 4)


def test_a_file_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    model, path = plain_classifier('deit'), tmp_path / 'a.pth'
    path.write_text('before')

    def full(content, file):
        file.write_bytes(b'some of it')
        raise RuntimeError('PytorchStreamWriter failed writing file')

    monkeypatch.setattr(torch, 'save', full)
    with pytest.raises(UserError, match='a.pth could not be written'):
        model.save(path)
    assert [file.name for file in tmp_path.iterdir()] == ['a.pth'] and path.read_text() == 'before'


def test_compactors_are_not_saved(tmp_path):
    model = plain_classifier('deit')
    add_backbone_compactors(model.backbone)
    with pytest.raises(UserError, match='still holds compactors: fold it'):
        model.save(tmp_path / 'a.pth')
    assert not (tmp_path / 'a.pth').exists()


def test_heads_of_other_classes(tmp_path, caplog):
    source, path = plain_classifier('deit', 7), tmp_path / 'a.pth'
    source.save(path)
    picked = load_classifier(path, head_rows=(6, 0))
    assert torch.equal(picked.head.weight, source.head.weight[[6, 0]]) and picked.num_classes == 2
    with caplog.at_level(logging.INFO, logger='cait_mm'):
        assert load_classifier(path, num_classes=3, new_head=True).head.weight.shape == (3, 24)
    assert 'the head of 3 classes starts at random' in caplog.text and 'loaded' in caplog.text
    with pytest.raises(UserError, match='7 classes, num_classes is 3: make them equal, pick classes with head_rows'):
        load_classifier(path, num_classes=3)
    with pytest.raises(UserError, match='head_rows names row 9, the head in .*a.pth has 7'):
        load_classifier(path, head_rows=(0, 9))
    torch.save(dict(source.backbone.state_dict()), path)
    with pytest.raises(UserError, match='a.pth has no head: give num_classes, and new_head=True'):
        load_classifier(path, FAMILIES['deit']['arch'], FAMILIES['deit']['merge'])


def test_a_file_has_to_be_the_model_that_is_asked_for(tmp_path):
    merge = FAMILIES['deit']['merge']
    path, bare = tmp_path / 'a.pth', tmp_path / 'bare.pth'
    plain_classifier('deit').save(path)
    with pytest.raises(UserError, match='another model than is wanted: it is .*, wanted .*deit_tiny'):
        load_classifier(path, 'deit_tiny')
    with pytest.raises(UserError, match='it merges 1:horizontal, 2:vertical, wanted 1:vertical'):
        load_classifier(path, merge=((1, 'vertical'),))
    assert load_classifier(path, FAMILIES['deit']['arch'], merge).spec.merges == tuple(merge)
    plain_classifier('deit', merge=()).save(bare)
    model = load_classifier(bare, merge=merge)
    assert model.spec.merges == tuple(merge) and read_checkpoint(str(bare)).spec.merges == ()
    torch.save({'model': plain_classifier('deit', merge=()).state_dict()}, bare)
    with pytest.raises(UserError, match='does not say its architecture: name it, one of deit_tiny'):
        load_classifier(bare)


def test_channels_of_the_image_may_be_others(tmp_path):
    plain_classifier('deit').save(tmp_path / 'a.pth')
    four = load_classifier(tmp_path / 'a.pth', in_channels=4)
    assert four(torch.randn(1, 4, 64, 64)).shape == (1, 5)
    four.save(tmp_path / 'b.pth')
    assert load_classifier(tmp_path / 'b.pth', FAMILIES['deit']['arch']).spec.arch.in_channels == 4
