import json

import pytest
import torch

from cait_mm.analysis.speed import amdahl

DENSE, ATME = 'configs/upernet_deit_scenes.py', 'configs/upernet_atme_deit_scenes.py'


def test_benchmark_puts_macs_beside_speed(tool, tmp_path):
    out = tmp_path / 'speed.json'
    status, text, err = tool('benchmark.py', ATME, '--against', DENSE, '--shape', 64, 64, '--rounds', 2, '--json', out)
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
                          '--parts', 'backbone', *words)
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
    (DENSE, ATME), ('configs/mask_rcnn_deit_scenes.py', 'configs/mask_rcnn_atme_deit_scenes.py'),
    ('configs/compress_deit_scenes.py', 'configs/compress_cait_deit_scenes.py')])
def test_training_steps_of_every_library_are_timed(tool, tmp_path, dense, compressed):
    status, text, err = tool('benchmark.py', compressed, '--against', dense, '--train-step', '--shape', 64, 64,
                             '--batch-size', 2, '--rounds', 1, '--json', tmp_path / 'steps.json')
    assert status == 0, err
    models = json.loads((tmp_path / 'steps.json').read_text())['models']
    assert models[dense]['step']['cost'] == 1 and models[compressed]['step']['cost'] > 0
    assert models[dense]['step']['peak_memory'] > 0 and 'step' in text and 'paramwise_options' not in text + err


@pytest.mark.skipif(torch.cuda.is_available(), reason='asks for a GPU where there is none')
def test_a_gpu_that_is_not_there_is_a_sentence(tool):
    status, _, err = tool('benchmark.py', ATME, '--against', DENSE, '--device', 'cuda')
    assert status == 2 and 'no GPU here' in err
