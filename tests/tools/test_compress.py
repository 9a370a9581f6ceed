import json

import numpy as np
import pytest
import torch
from conftest import FAMILIES, real_data
from mmengine.registry import MODELS
from PIL import Image
from timed import table_of
from timm import create_model
from tiny_runs import differing

from cait_mm.classification import Classifier
from cait_mm.macs import reduction
from cait_mm.models.checkpoint import read_checkpoint
from cait_mm.pruning import tune as tune_module
from cait_mm.spec import Spec, make_spec

CONFIG = '''
default_scope = 'mmseg'
custom_imports = dict(imports=['cait_mm'], allow_failed_imports=False)
model = dict(backbone=dict({}))
'''


def write_models(folder, family):
    """A config, and a dense classifier's checkpoint, of a small model of a family."""
    (folder / 'config.py').write_text(CONFIG.format(FAMILIES[family]))
    dense = Classifier(dict(FAMILIES[family], merge=()), num_classes=5)
    torch.save({'model': {name.removeprefix('backbone.'): value for name, value in dense.state_dict().items()}},
               folder / 'dense.pth')


@pytest.fixture
def small(tmp_path):
    """A config, a dense checkpoint with a head, and a folder of images."""
    write_models(tmp_path, 'deit')
    generator = np.random.default_rng(0)
    (tmp_path / 'images').mkdir()
    for index in range(6):
        pixels = generator.integers(0, 255, (80, 90, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / 'images' / f'{index}.png')
    return tmp_path


def words(small, *more, target=0.3):
    return [small / 'config.py', small / 'dense.pth', small / 'out.pth', '--target', target, '--images',
            small / 'images', '--num-images', 6, *more]


@pytest.mark.parametrize('family', FAMILIES)
def test_an_export_is_written_and_loads_as_a_backbone_by_itself(tool, small, family):
    write_models(small, family)
    merging = reduction(make_spec(FAMILIES[family]['arch'], FAMILIES[family]['merge'], family=family))
    more = ('--json', small / 'r.json', '--pad-to', 4)
    status, out, err = tool('compress.py', *words(small, *more, target=merging + 0.1))
    assert status == 0 and '=>' in out, err
    result = json.loads((small / 'r.json').read_text())
    content = torch.load(small / 'out.pth', weights_only=True)
    spec = Spec.from_dict(content['meta']['cait_spec'])
    assert spec == Spec.from_dict(result['spec']) and len(content['state_dict']['head.weight']) == 5
    backbone = MODELS.build(dict(FAMILIES[family], out_indices=(0, 2),
                                 init_cfg=dict(type='Pretrained', checkpoint=str(small / 'out.pth'))))
    backbone.init_weights()
    shape = (1, backbone.embed_dim, 4, 4)
    assert backbone.spec == spec and backbone(torch.randn(1, 3, 64, 64))[1].shape == shape
    assert all(block.qk_dim == block.v_dim and block.qk_dim % 4 == 0 for block in spec.blocks)


@pytest.mark.parametrize('change,message', [
    (['--target', '0.99'], 'out of reach'),
    (['--images', 'nowhere'], 'there are no images below nowhere'),
    (['--merge', '9:horizontal'], 'blocks 0 to 2'),
    (['--merge', '1:horizontal', '--search', '4'], '--search looks for the places'),
    (['--search', '4'], '--merge or the config names them'),
    (['--latency-table', 'table.json'], '--latency-table goes with --speedup or --score nvit'),
    (['--speedup', '2'], 'not allowed with argument'),
    (['--score', 'magic'], 'invalid choice'),
    (['--score', 'nvit', '--latency-table', 'nowhere.json'], 'nowhere.json'),
])
def test_wrong_use_is_a_sentence_and_writes_nothing(tool, small, change, message):
    status, _, err = tool('compress.py', *words(small), *change)
    assert status == 2 and message in err and 'Traceback' not in err
    assert not list(small.glob('*out.pth*'))


def test_a_search_says_how_it_goes_and_ranks_what_it_tried(tool, small):
    config = small / 'config.py'
    config.write_text(config.read_text() + 'model["backbone"]["merge"] = ()\n')
    status, out, err = tool('compress.py', *words(small, '--search', 3, '--json', small / 'r.json'))
    assert status == 0, err
    assert 'search: 1 of 3, ' in err and 'search: 3 of 3, ' in err and ', 0 s left' in err
    assert 'the best of 3 placements by the KL on 6 images also calibrated on' in out and '(taken)' in out
    found = json.loads((small / 'r.json').read_text())
    content = torch.load(small / 'out.pth', weights_only=True)
    assert content['meta']['search'] == found['search']
    taken = next(one for one in found['search']['candidates'] if one['number'] == found['search']['chosen'])
    assert [[block, f'{kind}_weighted'] for block, kind in taken['merges']] == found['spec']['merges']


def test_channels_are_judged_by_the_score_that_is_named(tool, small):
    table_of(FAMILIES['deit']['arch'], ffn=lambda _, width: 10. * width).save(small / 'table.json')
    results = []
    for more in ((), ('--score', 'lfs'), ('--score', 'nvit'),
                 ('--score', 'nvit', '--latency-table', small / 'table.json')):
        status, _, err = tool('compress.py', *words(small, '--merge', '', *more))
        assert status == 0, err
        results.append(torch.load(small / 'out.pth', weights_only=True))
    assert [result['meta']['start'] for result in results] == ['calibrated', 'lfs', 'nvit', 'nvit']
    weights = [result['state_dict']['blocks.0.mlp.fc1.weight'] for result in results]
    assert all(a.shape != b.shape or not torch.equal(a, b) for a, b in zip(weights, weights[1:]))


def test_a_speedup_is_reached_by_the_table(tool, small):
    table = table_of(FAMILIES['deit']['arch'], other=0.01)
    table.save(small / 'table.json')
    given = [word for word in words(small, '--latency-table', small / 'table.json', '--json', small / 'r.json')
             if word not in ('--target', 0.3)]
    status, out, err = tool('compress.py', *given, '--speedup', 1.9)
    assert status == 0 and 'x), on a made-up one' in out, err
    result = json.loads((small / 'r.json').read_text())
    spec = read_checkpoint(str(small / 'out.pth')).spec
    assert 1.9 <= table.dense / table.predict(spec) == pytest.approx(
        result['latency']['dense_ms'] / result['latency']['ms'], rel=1e-3)
    assert all(block.ffn_dim % 8 == 0 for block in spec.blocks)
    (small / 'out.pth').unlink()
    status, _, err = tool('compress.py', *given, '--speedup', 50)
    assert status == 2 and 'a speed-up of 50.00x is out of reach' in err and 'at most ' in err
    status, _, err = tool('compress.py', *given, '--speedup', 1.9, '--pad-to', 4)
    assert status == 2 and '--pad-to 4: a latency table has widths in multiples of 8' in err
    table_of('deit_tiny').save(small / 'table.json')
    status, _, err = tool('compress.py', *given, '--speedup', 1.9)
    assert status == 2 and 'measure one for it with tools/latency.py' in err
    assert not (small / 'out.pth').exists()


def test_a_broken_image_and_another_model_are_a_sentence(tool, small):
    (small / 'images' / '3.png').write_bytes(b'not a picture')
    status, _, err = tool('compress.py', *words(small))
    assert status == 2 and '3.png cannot be read' in err
    status, _, err = tool('compress.py', 'deit_huge', *words(small)[1:])
    assert status == 2 and 'deit_huge is neither a config file nor one of' in err


def test_timms_name_is_an_architecture(tool, small):
    weights = create_model('deit_tiny_patch16_224', num_classes=5).state_dict()
    torch.save(weights, small / 'dense.pth')
    status, _, err = tool('compress.py', 'deit_tiny_patch16_224', *words(small, '--align', 8, target=0.5)[1:])
    assert status == 0, err
    spec = read_checkpoint(str(small / 'out.pth')).spec
    assert (spec.arch.family, spec.arch.name, len(spec.merges)) == ('vit', 'deit_tiny_patch16_224', 2)
    torch.save({key: value for key, value in weights.items() if not key.startswith('head.')}, small / 'dense.pth')
    status, _, err = tool('compress.py', 'timm/deit_tiny_patch16_224', *words(small)[1:])
    assert status == 2 and 'has no head' in err


def test_pictures_are_no_images_of_four_channels(tool, small):
    config = small / 'config.py'
    config.write_text(config.read_text() + 'model["backbone"]["in_channels"] = 4\n')
    status, _, err = tool('compress.py', *words(small))
    assert status == 2 and 'the images have 3 channels and custom takes 4' in err


def test_the_dense_model_teaches_the_small_one_and_a_killed_run_continues(tool, small, monkeypatch):
    chance = np.random.default_rng(1)
    for index in range(40):
        pixels = chance.integers(0, 255, (4, 4, 3), dtype=np.uint8).repeat(20, 0).repeat(20, 1)
        Image.fromarray(pixels).save(small / 'images' / f'{index}.png')
    more = ('--tune', 4, '--batch-size', 8)
    status, out, err = tool('compress.py', *words(small, *more, '--json', small / 'r.json'))
    assert status == 0 and 'tuning: step 4 of 4' in err, err
    tuned, whole = json.loads((small / 'r.json').read_text())['tuned'], torch.load(small / 'out.pth', weights_only=True)
    assert 'tuned without labels: distance from the dense model on 4 images held out' in out
    assert 0 <= tuned['after'] <= tuned['before'] and tuned['steps'] == 4
    assert torch.load(small / 'out.pth', weights_only=True)['meta']['tuned'] == {**tuned, 'images': 36}
    assert not list(small.glob('*.tuning'))

    write, left = tune_module._write, [2]

    def killed(*words):
        write(*words)
        left[0] -= 1
        if not left[0]:
            raise KeyboardInterrupt

    (small / 'out.pth').unlink()
    with monkeypatch.context() as patched:
        patched.setattr(tune_module, '_write', killed)
        tool('compress.py', *words(small, *more))
    assert (small / 'out.pth.tuning').exists() and not (small / 'out.pth').exists()
    status, out, err = tool('compress.py', *words(small, *more))
    assert status == 0 and 'step 2 of 4' not in err and 'step 3 of 4' in err
    assert differing(whole, torch.load(small / 'out.pth', weights_only=True)) == []


def test_too_few_images_to_tune_on_are_a_sentence(tool, small):
    status, _, err = tool('compress.py', *words(small, '--tune', 4))
    assert status == 2 and 'tuning needs 32 images at least' in err and not (small / 'out.pth').exists()


def test_real_deit_tiny_at_the_papers_target(tool, deit_tiny, tmp_path):
    images = real_data('imagenet1k_samples')
    status, out, err = tool('compress.py', 'deit_tiny', deit_tiny, tmp_path / 'out.pth', '--target', 0.505, '--images',
                            images, '--json', tmp_path / 'r.json', '--num-images', 32)
    assert status == 0, err
    result = json.loads((tmp_path / 'r.json').read_text())
    assert 0.505 <= result['selected_reduction'] < 0.507 and result['params'] / 1e6 == pytest.approx(5.1, abs=0.3)
    assert result['selected_reduction'] - 0.02 < result['reduction'] < result['selected_reduction'], 'padded heads'
    assert all(block['qk_dim'] == block['v_dim'] and block['v_dim'] % 8 == 0 for block in result['spec']['blocks'])
    assert [item[0] for item in result['spec']['merges']] == [4, 8], 'the paper\'s placement'
