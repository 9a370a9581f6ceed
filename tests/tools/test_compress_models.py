"""Whole trained segmentors and detectors go in, and come out smaller, as config and checkpoint."""
import json

import pytest
import torch
from conftest import FAMILIES
from tiny_runs import differing, load, make_data, trained

from cait_mm.api import compress
from cait_mm.compression.model import compress_model, load_trained
from cait_mm.config.load import load_config
from cait_mm.datasets.scenes import make_scenes
from cait_mm.models.checkpoint import read_checkpoint
from cait_mm.spec import Spec
from cait_mm.tasks import build_model, task_of


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    return make_data(tmp_path_factory.mktemp('compress'))


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
    mode = small.backbone.restore_mode
    assert mode == 'residual_linear' and not read_checkpoint(str(out / 'model.pth')).is_compressed
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


def test_the_dense_model_teaches_the_small_one_and_a_killed_run_continues(tool, data, tmp_path, monkeypatch):
    make_scenes(tmp_path / 'many', train=40, val=8, size=(64, 64))
    (tmp_path / 'list.txt').write_text('\n'.join(map(str, (tmp_path / 'many/images/training').iterdir())))
    config, checkpoint = trained(data, tmp_path, 'segmentor')
    content = torch.load(checkpoint)
    for name, value in content['state_dict'].items():  # answers that differ from place to place
        if 'blocks' in name and value.dim() == 2 or name.endswith('conv_seg.weight'):
            torch.nn.init.normal_(value, std=0.1 if 'blocks' in name else 1.)
    torch.save(content, checkpoint)

    def compress(out, *more):
        return tool('compress.py', config, checkpoint, tmp_path / out, '--target', 0.45, '--num-images', 4, '--images',
                    tmp_path / 'list.txt', '--tune', 4, '--batch-size', 4, '--lr', 2e-5, *more)

    status, text, err = compress('whole')
    assert status == 0 and 'tuning: step 4 of 4' in err and 'distance from the dense model on 4 images' in text, err
    result, model = json.loads((tmp_path / 'whole/result.json').read_text()), load(tmp_path / 'whole/model.pth')
    tuned = result['tuned']
    assert tuned['after'] < tuned['before'] and tuned['steps'] == 4 and tuned['images'] == 36
    assert model['meta']['tuned'] == tuned and 'tuned without labels' in (tmp_path / 'whole/config.py').read_text()
    assert sorted(path.name for path in (tmp_path / 'whole').iterdir()) == [
        'config.py', 'model.pth', 'report.html', 'result.json']

    status, text, err = compress('part', '--tune-later')
    run = tmp_path / 'part/tuning/run.py'
    assert status == 0 and f'dist_train.sh {run} GPUS --resume' in text, err
    assert load_config(str(run)).model.type == 'LabelFreeTuning' and not (tmp_path / 'part/model.pth').exists()

    def kill(now):
        if now.step == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr('cait_mm.engine.tuning.show_tuning', kill)
        assert compress('part')[0] == 130 and not (tmp_path / 'part/model.pth').exists()
    status, _, err = compress('part', '--ridge', 1)
    assert status == 2 and 'holds another tuning run (student differ)' in err
    status, _, err = compress('part')
    assert status == 0 and 'step 2 of 4' not in err and 'step 3 of 4' in err, err
    assert differing(model['state_dict'], load(tmp_path / 'part/model.pth')['state_dict']) == []
    assert not (tmp_path / 'part/tuning').exists()


@pytest.mark.parametrize('more,message', [
    ((), 'tuning needs 32 images at least, and there are 12'), (('--amp', ), '--amp needs an accelerator'),
])
def test_what_cannot_be_tuned_is_a_sentence_and_writes_nothing(tool, data, tmp_path, more, message, monkeypatch):
    monkeypatch.setattr('cait_mm.engine.recipe.get_device', lambda: 'cpu')
    if more:
        monkeypatch.setattr('cait_mm.compression.tuning.LEAST_IMAGES', 1)
    status, _, err = tool('compress.py', *trained(data, tmp_path, 'segmentor'), tmp_path / 'out', '--target', 0.,
                          '--tune', 4, *more)
    assert status == 2 and message in err and not list(tmp_path.glob('out/*'))


def test_every_means_is_switched_by_its_option(tool, data, tmp_path):
    words = (*trained(data, tmp_path, 'segmentor'), tmp_path / 'out', '--target', 0.45, '--num-images', 2)
    status, _, err = tool('compress.py', *words, '--merge-weights', 'mean', '--restore-mode', 'nearest')
    assert status == 0, err
    small = load_config(str(tmp_path / 'out/config.py')).model.backbone
    assert small.restore_mode == 'nearest' and {kind for _, kind in small['merge']} <= {'horizontal', 'vertical'}
    weights = {}
    for name, more in dict(default=(), alike=('--no-proportional', ), means=('--ridge', 'inf')).items():
        assert tool('compress.py', *words, *more)[0] == 0
        weights[name] = load(tmp_path / 'out/model.pth')['state_dict']
    assert all(value == 0 for name, value in weights['alike'].items() if name.endswith('.proportion'))
    assert any(value != 0 for name, value in weights['default'].items() if name.endswith('.proportion'))
    moved = differing(weights['default'], weights['means'])
    assert any('fc2' in name for name in moved) and not any('qkv' in name for name in moved)


@pytest.mark.parametrize('kind', ['segmentor', 'detector'])
def test_target_0_keeps_every_prediction(data, tmp_path, kind):
    config, checkpoint = trained(data, tmp_path, kind)
    compressed = compress_model(str(config), str(checkpoint), None, 0.)
    image = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        before, after = (task_of(model).predict(image) for model in (compressed.dense, compressed.small))
    assert all(torch.equal(*pair) for pair in zip(before, after)) and compressed.result()['reduction'] == 0
    compressed.save(tmp_path / 'same')
    model, _ = load_trained(load_config(str(tmp_path / 'same' / 'config.py')), str(tmp_path / 'same' / 'model.pth'))
    with torch.no_grad():
        assert all(torch.equal(*pair) for pair in zip(before, task_of(model).predict(image)))


@pytest.mark.parametrize('change,message', [
    ('key', 'does not fit the config'), ('shape', 'does not fit the config'), ('backbone', 'does not fit the config'),
    ('type', 'which cannot be compressed'), ('images', 'there are no images'), ('target', 'out of reach'),
])
def test_impossible_requests_are_errors_and_write_nothing(tool, data, tmp_path, change, message):
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
def test_the_target_counts_the_padding_of_the_backbone(data, tmp_path, pad_to):
    config, checkpoint = trained(data, tmp_path, 'segmentor')
    compressed = compress_model(str(config), str(checkpoint), [torch.randn(4, 3, 64, 64)], 0.5, pad_to=pad_to)
    assert 0.5 <= compressed.result()['reduction'] < 0.53
    assert not pad_to or all(block.qk_dim == block.v_dim for block in compressed.spec.blocks)
