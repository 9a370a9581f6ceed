"""Whole trained segmentors and detectors go in, and come out smaller, as config and checkpoint."""
import json

import pytest
import torch
from conftest import FAMILIES
from tiny_runs import KINDS, make_data

from cait_mm.api import compress
from cait_mm.compression.model import compress_model, load_trained
from cait_mm.config.load import load_config
from cait_mm.models.checkpoint import read_checkpoint
from cait_mm.spec import Spec
from cait_mm.tasks import build_model, task_of

DENSE = 'model["backbone"]["merge"] = ()\nmodel["backbone"]["restore_mode"] = "nearest"\n'


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    return make_data(tmp_path_factory.mktemp('compress'))


def trained(data, folder, kind):
    """The config of a dense model, and a checkpoint of it whose weights are all random."""
    config, checkpoint = folder / f'{kind}.py', folder / f'{kind}.pth'
    config.write_text(KINDS[kind].replace('DATA', str(data)) + DENSE)
    model = build_model(load_config(str(config)))
    for parameter in model.parameters():
        parameter.data.add_(0.02 * torch.randn_like(parameter))
    torch.save({'state_dict': model.state_dict(),
                'meta': {'dataset_meta': {'classes': ('a', 'b'), 'palette': [[1, 2, 3], [4, 5, 6]]}}}, checkpoint)
    return config, checkpoint


@pytest.mark.parametrize('kind', ['segmentor', 'detector', 'medical'])
def test_a_model_comes_out_smaller_and_is_built_from_its_folder(tool, data, tmp_path, kind):
    config, checkpoint = trained(data, tmp_path, kind)
    out = tmp_path / 'small'
    status, text, err = tool('compress.py', config, checkpoint, out, '--target', 0.45, '--num-images', 4, '--pad-to',
                             0, '--json', tmp_path / 'r.json')
    assert status == 0, err
    result = json.loads((out / 'result.json').read_text())
    assert result == json.loads((tmp_path / 'r.json').read_text()) and 'labels' in (out / 'config.py').read_text()
    assert result['calibration_images'] == 4 and result['selected_reduction'] == pytest.approx(0.45, abs=0.02)
    assert result['reduction'] == pytest.approx(0.45, abs=0.03)
    assert all(kind.endswith('_weighted') for _, kind in result['spec']['merges']) and result['spec']['merges']

    content = torch.load(out / 'model.pth', weights_only=True)
    assert content['meta']['dataset_meta'] == {'classes': ('a', 'b'), 'palette': [[1, 2, 3], [4, 5, 6]]}
    small = build_model(load_config(str(out / 'config.py')))
    small.load_state_dict(content['state_dict'])
    assert small.backbone.spec == Spec.from_dict(content['meta']['cait_spec']) == Spec.from_dict(result['spec'])
    assert small.backbone.restore_mode == 'residual' and not read_checkpoint(str(out / 'model.pth')).is_export
    heads = {key: value for key, value in torch.load(checkpoint)['state_dict'].items()
             if not key.startswith('backbone.')}
    assert all(torch.equal(value, content['state_dict'][key]) for key, value in heads.items())


@pytest.mark.parametrize('kind,measure', [('segmentor', 'KL'), ('medical', 'KL'), ('detector', 'error of maps')])
def test_a_search_judges_pixels_where_a_head_gives_them_and_maps_elsewhere(tool, data, tmp_path, kind, measure):
    config, checkpoint = trained(data, tmp_path, kind)
    out = tmp_path / 'small'
    status, text, err = tool('compress.py', config, checkpoint, out, '--target', 0.3, '--num-images', 4, '--pad-to', 0,
                             '--search', 2)
    assert status == 0 and f'the best of 2 placements by the {measure} on 4 images' in text, err
    found = json.loads((out / 'result.json').read_text())['search']
    assert found['measure'] == measure and found['candidates'][0]['damage'] <= found['candidates'][1]['damage']


def test_a_small_segmentor_is_evaluated_from_its_folder(tool, data, tmp_path):
    config, checkpoint = trained(data, tmp_path, 'segmentor')
    out = tmp_path / 'small'
    assert tool('compress.py', config, checkpoint, out, '--target', 0.3, '--images', data / 'scenes', '--num-images',
                4)[0] == 0
    status, text, err = tool('test.py', out / 'config.py', out / 'model.pth', '--work-dir', tmp_path / 'work',
                             '--cfg-options', f'test_dataloader.dataset.data_root={data}/scenes')
    assert status == 0 and 'mIoU' in text, err


@pytest.mark.parametrize('kind', ['segmentor', 'detector'])
def test_target_0_keeps_every_prediction(data, tmp_path, kind):
    config, checkpoint = trained(data, tmp_path, kind)
    found = compress_model(str(config), str(checkpoint), None, 0.)
    image = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        before, after = (task_of(model).predict(image) for model in (found.dense, found.small))
    assert all(torch.equal(*pair) for pair in zip(before, after)) and found.result()['reduction'] == 0
    found.save(tmp_path / 'same')
    model, _ = load_trained(load_config(str(tmp_path / 'same' / 'config.py')), str(tmp_path / 'same' / 'model.pth'))
    with torch.no_grad():
        assert all(torch.equal(*pair) for pair in zip(before, task_of(model).predict(image)))


@pytest.mark.parametrize('change,message', [
    ('key', 'does not fit the config'), ('shape', 'does not fit the config'), ('backbone', 'does not fit the config'),
    ('type', 'which cannot be compressed'), ('images', 'there are no images'), ('target', 'out of reach'),
])
def test_what_cannot_be_is_a_sentence_and_writes_nothing(tool, data, tmp_path, change, message):
    config, checkpoint = trained(data, tmp_path, 'segmentor')
    content, target, more = torch.load(checkpoint), 0.4, ()
    weights = content['state_dict']
    if change == 'key':
        del weights['decode_head.conv_seg.weight']
    elif change == 'shape':
        weights['decode_head.conv_seg.weight'] = weights['decode_head.conv_seg.weight'][:2]
    elif change == 'backbone':
        del weights['backbone.blocks.1.attn.qkv.weight']
    elif change == 'type':
        config.write_text(config.read_text() + 'model["backbone"] = dict(_delete_=True, type="ResNetV1c", depth=18)\n')
    elif change == 'images':
        (tmp_path / 'empty').mkdir()
        more = ('--images', tmp_path / 'empty')
    else:
        target = 0.999
    torch.save(content, checkpoint)
    status, _, err = tool('compress.py', config, checkpoint, tmp_path / 'out', '--target', target, *more)
    assert status == 2 and message in err and 'Traceback' not in err
    assert not list((tmp_path / 'out').glob('*'))


@pytest.mark.parametrize('family', FAMILIES)
def test_any_module_with_one_backbone_is_compressed_from_python(family):
    from mmengine.registry import MODELS
    backbone = MODELS.build(dict(FAMILIES[family], merge=(), out_indices=(0, 1)))
    model = torch.nn.ModuleDict(dict(encoder=torch.nn.Sequential(backbone), head=torch.nn.Conv2d(4, 2, 1)))
    images = torch.randn(3, 3, 96, 64)
    small = compress(model, images, 0.2, pad_to=0)
    inner = small['encoder'][0]
    assert inner is not backbone and backbone.spec == Spec.dense(backbone.arch) and inner.spec.is_pruned
    assert torch.equal(small['head'].weight, model['head'].weight) and not small.training
    assert [one.shape for one in inner(images)] == [one.shape for one in backbone(images)]


@pytest.mark.parametrize('pad_to', [0, 4])
def test_the_target_is_what_the_backbone_saves_with_its_padding(data, tmp_path, pad_to):
    config, checkpoint = trained(data, tmp_path, 'segmentor')
    found = compress_model(str(config), str(checkpoint), [torch.randn(4, 3, 64, 64)], 0.5, pad_to=pad_to)
    assert 0.5 <= found.result()['reduction'] < 0.53
    assert not pad_to or all(block.qk_dim == block.v_dim for block in found.spec.blocks)
