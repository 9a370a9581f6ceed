import json

import pytest
import torch

from cait_mm.utils.speed import amdahl

CPU = ('--device', 'cpu')
DENSE, ATME = 'configs/small/upernet_deit_scenes.py', 'configs/small/upernet_atme_deit_scenes.py'


def test_benchmark_gives_macs_and_speed(tool, tmp_path):
    out = tmp_path / 'speed.json'
    status, text, err = tool('benchmark.py', ATME, '--against', DENSE, '--shape', 64, 64, '--rounds', 2, '--json', out,
                             *CPU)
    assert status == 0, err
    result = json.loads(out.read_text())
    dense, atme = result['models'][DENSE], result['models'][ATME]
    assert dense['encoder']['speedup'] == dense['overall']['speedup'] == 1
    assert atme['encoder']['ideal'] == dense['encoder']['macs'] / atme['encoder']['macs'] > atme['overall']['ideal'] > 1
    assert result['conditions']['batch_size'] == 1 and result['conditions']['torch']
    assert 'speed-up' in text
    part = atme['overall']
    whole, encoder = (dense[name]['seconds'] for name in ('overall', 'encoder'))
    assert part['cap'] == pytest.approx(amdahl(whole, encoder, atme['encoder']['ideal']))
    assert dense['overall']['cap'] == pytest.approx(1) and 'cap' not in atme['encoder']
    assert part['quartiles'][0] <= part['seconds'] <= part['quartiles'][1] and part['peak_memory'] > 0
    assert atme['attention'] == {'flash_attention_for_cpu': 8} and 'flash_attention_for_cpu' in text


@pytest.mark.parametrize('words,kernels', [
    (['--attention', 'eager'], set()),
    (['--dtype', 'bfloat16', '--channels-last', '--deploy'], {'flash_attention_for_cpu'})])
def test_modes_and_parts_are_run_as_asked(tool, tmp_path, words, kernels):
    out = tmp_path / 'speed.json'
    status, _, err = tool('benchmark.py', ATME, '--against', DENSE, '--shape', 64, 64, '--rounds', 1, '--json', out,
                          '--parts', 'backbone', *CPU, *words)
    assert status == 0, err
    result = json.loads(out.read_text())
    assert all(set(model['attention']) == kernels for model in result['models'].values())
    assert result['conditions'][f'mode {words[0][2:]}'] == words[1]
    assert all(set(model) == {'params', 'backbone', 'attention'} for model in result['models'].values())


def test_memory_is_kept_when_asked(tool, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr('cait_mm.utils.memory.keep_freed_memory', lambda: asked.append(True))
    for words in ([], ['--keep-memory']):
        status, _, err = tool('benchmark.py', ATME, '--against', DENSE, '--shape', 64, 64, '--rounds', 1, '--parts',
                              'backbone', '--json', tmp_path / 'speed.json', *words)
        assert status == 0, err
        kept = json.loads((tmp_path / 'speed.json').read_text())['conditions']['keep_memory']
        assert kept == bool(asked) == bool(words)


@pytest.mark.parametrize('dense,compressed', [
    (DENSE, ATME), ('configs/small/mask_rcnn_deit_scenes.py', 'configs/small/mask_rcnn_atme_deit_scenes.py'),
    ('configs/small/deit_scenes.py', 'configs/small/compress_cait_deit_scenes.py')])
def test_training_steps_of_every_library_are_timed(tool, tmp_path, dense, compressed):
    status, text, err = tool('benchmark.py', compressed, '--against', dense, '--train-step', '--shape', 64, 64,
                             '--batch-size', 2, '--rounds', 1, '--json', tmp_path / 'steps.json')
    assert status == 0, err
    models = json.loads((tmp_path / 'steps.json').read_text())['models']
    assert models[dense]['step']['cost'] == 1 and models[compressed]['step']['cost'] > 0
    assert models[dense]['step']['peak_memory'] > 0 and 'step' in text and 'paramwise_options' not in text + err


def test_only_shared_parts_are_compared(tool, tmp_path):
    dense = 'configs/small/deit_scenes.py'
    words = ['benchmark.py', DENSE, '--against', dense, '--shape', 96, 96, '--rounds', 1, *CPU]
    status, text, err = tool(*words, '--json', tmp_path / 'speed.json')
    assert status == 0, err
    models = json.loads((tmp_path / 'speed.json').read_text())['models']
    assert all('overall' in model and 'encoder' not in model and 'cap' not in model['overall']
               for model in models.values())
    status, _, err = tool(*words, '--parts', 'encoder')
    assert status == 2 and f'{dense} has overall' in err and f'{DENSE} has encoder' in err


def test_a_mode_that_a_model_cannot_run_in_is_a_sentence(tool):
    rcnn = 'configs/mask_rcnn_{}deit_scenes.py'
    status, _, err = tool('benchmark.py', rcnn.format('atme_'), '--against', rcnn.format(''), '--shape', 64, 64,
                          '--dtype', 'bfloat16', '--rounds', 1, *CPU)
    assert status == 2 and 'cannot run in the mode asked for' in err
    status, _, err = tool('benchmark.py', ATME, '--against', DENSE, '--train-step', '--dtype', 'float16', *CPU)
    assert status == 2 and 'needs a GPU' in err


@pytest.mark.skipif(not torch.cuda.is_available(), reason='times on a GPU')
@pytest.mark.parametrize('words', [[], ['--dtype', 'bfloat16'], ['--dtype', 'bfloat16', '--weights', 'same'],
                                   ['--parts', 'backbone', '--cuda-graph'], ['--train-step', '--dtype', 'float16']])
def test_a_gpu_is_timed(tool, tmp_path, words):
    out = tmp_path / 'speed.json'
    status, _, err = tool('benchmark.py', ATME, '--against', DENSE, '--shape', 64, 64, '--rounds', 2, '--device',
                          'cuda', '--json', out, *words)
    assert status == 0, err
    result = json.loads(out.read_text())
    assert result['conditions']['device'] == torch.cuda.get_device_name() and result['conditions']['CPU']
    parts = [part for model in result['models'].values() for part in model.values() if 'seconds' in str(part)]
    assert parts and all(part['seconds'] > 0 and part['peak_memory'] > 0 for part in parts)


@pytest.mark.skipif(torch.cuda.is_available(), reason='asks for a GPU where there is none')
def test_a_gpu_that_is_not_there_is_a_sentence(tool):
    status, _, err = tool('benchmark.py', ATME, '--against', DENSE, '--device', 'cuda')
    assert status == 2 and 'no GPU here' in err
