"""Damaged and foreign specs and descriptions of training checkpoints."""
import json
import random

import pytest
import torch
from damage import STORED, spoilt

from cait_mm.arch import get_arch
from cait_mm.classification import Classifier
from cait_mm.errors import UserError
from cait_mm.pruning.training_checkpoint import TRAINING_META, load_training, training_meta
from cait_mm.spec import Spec, make_spec

MERGES = {'deit': ((1, 'horizontal'),), 'swin': (('2.1', 'horizontal'),), 'lvvit': ((1, 'vertical'),),
          'vit': ((1, 'vertical'),)}
ARCHS = {
    'deit': dict(embed_dim=24, depth=3, num_heads=3, img_size=(64, 64)),
    'lvvit': dict(embed_dim=48, depth=3, num_heads=3, img_size=(64, 64), stem_dim=2),
    'swin': dict(embed_dim=16, depths=(1, 2, 3, 1), num_heads=(1, 2, 2, 4), window_size=4, img_size=(64, 64)),
    'vit': dict(embed_dim=24, depth=3, num_heads=3, img_size=(64, 64), reg_tokens=4, init_values=0.1, ffn='swiglu',
                rope=dict(type='dinov3', rotate_half=True, ref_feat_shape=(4, 4)), qk_norm=True),
}
DEEP = []
for _ in range(5000):
    DEEP = [DEEP]
JUNK = (*STORED, 10**5000, DEEP, object())


def spec_of(family):
    return make_spec({'family': family, **ARCHS[family]}, MERGES[family]).to_dict()


def check_sentence(error):
    assert '\n' not in str(error) and len(str(error)) < 600, str(error)[:700]


@pytest.mark.parametrize('family', ARCHS)
def test_a_spoilt_spec_is_a_spec_or_one_sentence(family):
    rng, refused = random.Random(13), 0
    for _ in range(150):
        data = spoilt(spec_of(family), rng, JUNK)
        try:
            assert Spec.from_dict(data).arch.family == family
        except UserError as error:
            refused += 1
            check_sentence(error)
    assert refused > 100


def test_junk_is_no_spec_and_no_architecture():
    for junk in JUNK:
        for read in (Spec.from_dict, get_arch):
            with pytest.raises(UserError) as error:
                read(junk)
            check_sentence(error.value)


@pytest.mark.parametrize('field,value,message', [
    ('depth', 10**12, 'arch depth=1000000000000 is more than 1000'),
    ('depth', 1e12, 'depth=1000000000000.0 must be a positive whole number'),
    ('depth', True, 'depth=True must be'),
    pytest.param('embed_dim', 10**5000, 'embed_dim=a number of 16610 bits is more than 65536', id='long'),
    ('mlp_ratio', float('nan'), 'mlp_ratio=nan must be a number above 0'),
    ('mlp_ratio', '4', "mlp_ratio='4' must be"),
    ('mlp_ratio', 0.01, 'leaves no channel of 24'),
    ('img_size', (64,), r'img_size=\(64,\) is neither a side length nor a pair'),
    ('img_size', (60000, 60000), 'has more than 1048576 patches'),
    ('img_size', 'large', 'is neither'),
    ('patch_size', 0, 'patch_size=0 must be'),
    ('name', 5, 'name=5 is no text'),
    ('num_heads', [3], r'num_heads=\[3\] must be'),
])
def test_impossible_numbers_are_refused_at_once(field, value, message):
    with pytest.raises(UserError, match=message):
        get_arch({**ARCHS['deit'], field: value})


@pytest.mark.parametrize('text,message', [
    ('', 'not a cait_mm spec'), ('[' * 100000, 'nested too deep'), ('5', 'not a cait_mm spec'),
    ('{"version": ' + '9' * 5000 + '}', 'not a cait_mm spec'),
    ('{"version": 1.0}', 'version 1.0 is unknown'), ('{"version": true}', 'version True is unknown'),
], ids=range(6))
def test_broken_json_is_a_sentence(text, message):
    with pytest.raises(UserError, match=message) as error:
        Spec.from_json(text)
    check_sentence(error.value)


def test_errors_name_the_spec_file(tmp_path):
    path = tmp_path / 'spec.json'
    with pytest.raises(UserError, match='spec.json does not exist'):
        Spec.from_file(path)
    for content in (b'\xff\xfe\x00', b'{}'):
        path.write_bytes(content)
        with pytest.raises(UserError, match='spec.json'):
            Spec.from_file(path)
    text = json.dumps(spec_of('deit'))
    path.write_bytes(b'\xef\xbb\xbf' + text.encode())
    assert Spec.from_file(path).to_dict() == json.loads(text), 'a byte order mark, as Windows writes it, is no matter'


@pytest.fixture(scope='module')
def training():
    torch.manual_seed(0)
    model = Classifier(dict(type='CAITDeiT', arch=ARCHS['deit'], merge=MERGES['deit']), num_classes=5)
    return {'state_dict': dict(model.state_dict()),
            'meta': {TRAINING_META: training_meta(model.backbone, None), 'dataset_meta': {'classes': ['a']}}}


def test_a_training_checkpoint_is_read_whole(training, tmp_path):
    torch.save(training, tmp_path / 'a.pth')
    model = load_training(str(tmp_path / 'a.pth'))
    assert {*model.state_dict()} == {*training['state_dict']} and model.num_classes == 5
    assert all(torch.equal(value, training['state_dict'][name]) for name, value in model.state_dict().items())
    assert model.provenance == {'source': 'a.pth', 'cdcp': None, 'classes': {'classes': ['a']}}


def test_a_spoilt_training_checkpoint_is_read_or_one_sentence(training, tmp_path):
    path, rng, refused = tmp_path / 'a.pth', random.Random(13), 0
    for _ in range(100):
        torch.save(spoilt(training, rng, STORED), path)
        try:
            load_training(str(path))
        except UserError as error:
            refused += 1
            check_sentence(error)
    assert refused > 30


@pytest.mark.parametrize('change,message', [
    (dict(img_size=[60000, 60000]), 'img_size=.* has more than'),
    (dict(img_size='large'), 'is neither a side length'),
    (dict(cdcp=5), 'cdcp=5 is no mapping of settings'),
    (dict(cdcp={'target': [1]}), 'is no mapping of settings'),
    (dict(more=1), 'has unknown keys more'),
    (dict(spec=None), 'is not a cait_mm spec'),
    (dict(img_size=[32, 32]), 'does not hold the weights that it describes'),
    (dict(spec=make_spec('deit_base').to_dict()), 'describes a larger classifier than it holds weights of'),
])
def test_mistakes_in_a_training_checkpoint_are_named(training, tmp_path, change, message):
    described = {**training['meta'][TRAINING_META], **change}
    torch.save({**training, 'meta': {TRAINING_META: described}}, tmp_path / 'a.pth')
    with pytest.raises(UserError, match=message) as error:
        load_training(str(tmp_path / 'a.pth'))
    check_sentence(error.value)
    assert 'a.pth' in str(error.value)


def test_weights_that_are_missing_name_the_file(training, tmp_path):
    weights = {name: value for name, value in training['state_dict'].items() if 'blocks.1.norm1' not in name}
    torch.save({**training, 'state_dict': weights}, tmp_path / 'a.pth')
    with pytest.raises(UserError, match='a.pth does not hold the weights .*blocks.1.norm1.weight'):
        load_training(str(tmp_path / 'a.pth'))
