"""tools/export.py: files compute the same as PyTorch; anything else is refused with a clear error."""
import json

import numpy as np
import pytest
import torch
from conftest import ROOT
from PIL import Image

from cait_mm.deploy import OnnxModel, deployable, deployed, difference, load_saved, save_onnx, save_program
from cait_mm.errors import UserError
from cait_mm.models.compressed import compressed_content, save_compressed
from cait_mm.tasks import load_model

CLASSIFIER, SEGMENTOR = 'configs/small/compress_cait_deit_scenes.py', 'configs/small/upernet_cait_deit_scenes.py'


@pytest.fixture(scope='module')
def checkpoint(tmp_path_factory):
    """A segmentor's weights as a training run leaves them."""
    path = tmp_path_factory.mktemp('export') / 'iter_10.pth'
    torch.manual_seed(0)
    state = load_model(str(ROOT / SEGMENTOR)).state_dict()
    torch.save({'state_dict': state, 'meta': {'dataset_meta': {'classes': ['sky', 'mountain']}}}, path)
    return path


@pytest.mark.parametrize('form,suffix', [('onnx', '.onnx'), ('torch-export', '.pt2')])
@pytest.mark.parametrize('part', ['overall', 'backbone'])
def test_exports_are_checked_and_described(tool, checkpoint, tmp_path, form, suffix, part):
    pytest.importorskip('onnxruntime', reason='pip install -r requirements/export.txt')
    out = tmp_path / f'model{suffix}'
    status, text, err = tool('export.py', SEGMENTOR, checkpoint, '--format', form, '--part', part, '--shape', 64, 96,
                             '--out', out, '--json', tmp_path / 'about.json')
    assert status == 0, err
    about = json.loads((tmp_path / 'about.json').read_text())
    assert about['difference'] < 1e-4 and about['shape'] == [64, 96] and about['macs'] > 0
    assert about['classes'] == ['sky', 'mountain'] and about['mean'] == [123.675, 116.28, 103.53]
    outputs = load_saved(out, form)(torch.rand(5, 3, 64, 96))  # a batch that was never seen
    shapes = [tuple(item.shape) for item in (outputs if isinstance(outputs, (list, tuple)) else [outputs])]
    assert shapes == ([(5, 10, 64, 96)] if part == 'overall' else [(5, 128, 4, 6)] * 4)
    assert sorted(path.name for path in tmp_path.iterdir()) == ['about.json', out.name] and 'differs' in text


def test_files_of_8_bits_are_near_and_compared(tool, checkpoint, tmp_path):
    pytest.importorskip('onnxruntime', reason='pip install -r requirements/export.txt')
    chance = np.random.default_rng(0)
    (tmp_path / 'images').mkdir()
    for index in range(6):
        pixels = chance.integers(0, 255, (4, 6, 3), dtype=np.uint8).repeat(20, 0).repeat(20, 1)
        Image.fromarray(pixels).save(tmp_path / 'images' / f'{index}.png')
    words = (SEGMENTOR, checkpoint, '--shape', 64, 96, '--out', tmp_path / 'model.onnx', '--int8', tmp_path / 'images',
             '--num-images', 6)
    status, text, err = tool('export.py', *words, '--json', tmp_path / 'about.json')
    assert status == 0, err
    found = json.loads((tmp_path / 'about.json').read_text())['int8']
    whole, small = OnnxModel(tmp_path / 'model.onnx'), OnnxModel(tmp_path / 'model_int8.onnx')
    assert small.about == whole.about and 0 < found['error'] < 0.3 and found['agreement'] > 0.7 and found['speedup'] > 0
    assert (tmp_path / 'model_int8.onnx').stat().st_size < 0.5 * (tmp_path / 'model.onnx').stat().st_size
    assert 'the same arg-max in' in text and not list(tmp_path.glob('*augmented*'))
    for wrong, message in ((('--format', 'torch-export'), '--int8 goes with --format onnx'),
                           (('--num-images', 1), 'half of them calibrate')):
        status, _, err = tool('export.py', *words, *wrong)
        assert status == 2 and message in err


@pytest.mark.parametrize('name', ['compress_cait_deit_scenes', 'compress_cait_swin_imagefolder',
                                  'compress_cait_lvvit_imagefolder'])
def test_classifiers_of_every_family(tmp_path, name):
    pytest.importorskip('onnxruntime', reason='pip install -r requirements/export.txt')
    model = load_model(str(ROOT / f'configs/{name}.py'))
    shape = model.backbone.img_size
    module = deployable(model, 'overall')
    for form, save in (('onnx', save_onnx), ('torch-export', save_program)):
        path = tmp_path / f'model.{form}'
        save(module, shape, path, {'shape': list(shape)})
        assert difference(module, load_saved(path, form), shape) < 1e-4
    assert all(part.fused_attn for part in module.modules() if hasattr(part, 'fused_attn'))


def test_images_of_four_channels(tmp_path):
    pytest.importorskip('onnxruntime', reason='pip install -r requirements/export.txt')
    model = load_model(str(ROOT / SEGMENTOR), {'model.backbone.in_channels': 4, 'model.backbone.init_cfg': None})
    for part, save, form in (('overall', save_onnx, 'onnx'), ('backbone', save_program, 'torch-export')):
        module, path = deployable(model, part), tmp_path / part
        save(module, (64, 64), path, {'shape': [64, 64]})
        saved = load_saved(path, form)
        assert difference(module, saved, (64, 64)) < 1e-4
        assert module.in_channels == 4 and getattr(saved, 'in_channels', 4) == 4


def test_a_deployed_model_computes_the_same_with_fewer_parameters():
    model = load_model(str(ROOT / SEGMENTOR))
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.normal_(module.running_mean)
            torch.nn.init.uniform_(module.running_var, 0.5, 2)
    image, meta = torch.rand(1, 3, 64, 64), [dict(img_shape=(64, 64), ori_shape=(64, 64), pad_shape=(64, 64))]
    with torch.no_grad():
        before, params = model.encode_decode(image, meta), sum(item.numel() for item in model.parameters())
        assert deployed(model) is model and not model.with_auxiliary_head
        torch.testing.assert_close(model.encode_decode(image, meta), before, atol=1e-4, rtol=1e-4)
    assert sum(item.numel() for item in model.parameters()) < params
    assert not any(isinstance(item, torch.nn.BatchNorm2d) for item in model.decode_head.modules())


def test_an_onnx_file_is_timed_together_with_configs(tool, checkpoint, tmp_path):
    pytest.importorskip('onnxruntime', reason='pip install -r requirements/export.txt')
    out = tmp_path / 'model.onnx'
    assert tool('export.py', SEGMENTOR, checkpoint, '--shape', 64, 64, '--out', out)[0] == 0
    words = ['benchmark.py', out, '--against', 'configs/small/upernet_deit_scenes.py', '--rounds', 1, '--device', 'cpu']
    status, _, err = tool(*words, '--shape', 64, 64, '--json', tmp_path / 'speed.json')
    assert status == 0, err
    part = json.loads((tmp_path / 'speed.json').read_text())['models'][str(out)]['overall']
    assert part['ideal'] > 1 and part['speedup'] > 0
    status, _, err = tool(*words, '--shape', 96, 64)
    assert status == 2 and 'for images of 64x64, not 96x64' in err


def test_models_that_a_format_cannot_hold_are_refused(tool, tmp_path):
    with pytest.raises(UserError, match='export `part=backbone`'):
        deployable(load_model(str(ROOT / 'configs/small/mask_rcnn_deit_scenes.py')), 'overall')
    config = 'configs/small/mask2former_cait_deit_t_camvid.py'
    torch.save({'state_dict': load_model(str(ROOT / config)).state_dict(), 'meta': {}}, tmp_path / 'm.pth')
    status, _, err = tool('export.py', config, tmp_path / 'm.pth', '--format', 'torch-export', '--shape', 64, 64)
    assert status == 2 and 'cannot be exported' in err and '--part backbone' in err
    assert [path.name for path in tmp_path.iterdir()] == ['m.pth']


def test_a_compressed_classifier_is_a_segmentors_backbone_and_no_segmentor(tool, tmp_path):
    model, export = load_model(str(ROOT / CLASSIFIER)), tmp_path / 'cait.pth'
    weights = {name.removeprefix('backbone.'): value for name, value in model.state_dict().items()}
    save_compressed(compressed_content(weights, model.backbone.spec), export)
    for part in ((), ('--part', 'whole')):  # the name that overall had in earlier versions
        status, _, err = tool('export.py', SEGMENTOR, export, '--format', 'torch-export', *part, '--shape', 64, 64)
        assert status == 2 and 'no trained head' in err
    for config, outputs in ((SEGMENTOR, 4), (CLASSIFIER, 1)):
        out = tmp_path / f'{outputs}.pt2'
        status, _, err = tool('export.py', config, export, '--format', 'torch-export', '--part', 'backbone', '--shape',
                              64, 64, '--out', out)
        assert status == 0, err
        maps = load_saved(out, 'torch-export')(torch.rand(2, 3, 64, 64))
        assert len(maps) == outputs and maps[-1].shape[0] == 2
    status, _, err = tool('export.py', 'configs/none.py', export, '--shape', 64, 64)
    assert status == 2 and 'configs/none.py' in err


@pytest.mark.parametrize('wrong', [lambda x: torch.full_like(x, torch.nan), lambda x: [], lambda x: x[:, :1]])
def test_a_file_that_computes_something_else_is_seen(wrong):
    same = torch.nn.Identity()
    assert difference(same, same, (8, 8)) == 0 and not difference(same, wrong, (8, 8)) <= 1e-4


def test_wrong_files_are_a_sentence(tool, checkpoint, tmp_path):
    status, _, err = tool('export.py', SEGMENTOR, tmp_path / 'none.pth', '--shape', 64, 64)
    assert status == 2 and 'none.pth' in err
    status, _, err = tool('export.py', 'configs/small/upernet_deit_scenes.py', checkpoint, '--shape', 64, 64)
    assert status == 2 and 'does not fit the config' in err
    torch.save(load_model(str(ROOT / SEGMENTOR)).state_dict(), tmp_path / 'bare.pth')
    status, _, err = tool('export.py', SEGMENTOR, tmp_path / 'bare.pth', '--shape', 64, 64)
    assert status == 2 and 'was not written by a training of the config' in err
    (tmp_path / 'torn.onnx').write_bytes(b'no model')
    pytest.importorskip('onnxruntime', reason='pip install -r requirements/export.txt')
    with pytest.raises(UserError, match='is no ONNX file of tools/export.py'):
        OnnxModel(tmp_path / 'torn.onnx')
    with pytest.raises(UserError, match='does not exist'):
        OnnxModel(tmp_path / 'none.onnx')
