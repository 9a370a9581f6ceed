"""The benchmarks compare what they say they compare."""
import argparse
import re

import ablations
import pytest
import shared
import speed
import tasks
from conftest import DATA, ROOT, real_data

from cait_mm.config.load import load_config
from cait_mm.macs import reduction
from cait_mm.models.checkpoint import read_checkpoint

SCRIPTS = sorted(str(path.relative_to(ROOT)) for path in (ROOT / 'benchmarks').rglob('[!_]*.py')
                 if path.name != 'shared.py')


@pytest.mark.parametrize('name', SCRIPTS)
def test_every_script_has_help_out_and_json(script, name):
    status, out, _ = script(name, '--help')
    assert status == 0 and '--json FILE' in out and '--out' in out


def test_cases_and_tasks_name_configs_that_are_there_the_dense_one_first():
    cases = [case.configs for case in speed.CASES.values()]
    assert all(shared.config_of(name).is_file() for configs in cases for name in configs)
    for dense in {configs[0] for configs in cases}:
        assert 'merge' not in load_config(str(shared.config_of(dense))).model.backbone
    for task in tasks.TASKS.values():
        assert task.kinds[0] == 'dense' and all(path.is_file() for path in task.configs().values())


def test_the_stand_in_is_an_export_at_the_papers_target(tmp_path):
    spec = read_checkpoint(str(speed.stand_in('deit_t', tmp_path))).spec
    assert reduction(spec) == pytest.approx(0.505, abs=1e-3)
    assert all(block.qk_dim % 8 == block.v_dim % 8 == block.ffn_dim % 8 == 0 for block in spec.blocks)


def test_more_merges_cost_less_and_nothing_is_timed_twice(script, tmp_path):
    words = ('--cases', 'scaling_224', '--batches', 1, '--out', tmp_path, '--', '--rounds', 1, '--device', 'cpu')
    first, second = (script('benchmarks/speed.py', *words) for _ in range(2))
    assert first[0] == 0 and first[:2] == second[:2] and '$' in first[2] and '$' not in second[2]
    rows = shared.read_rows(tmp_path / 'speed.csv')
    assert [row['gmacs'] for row in rows] == sorted((row['gmacs'] for row in rows), reverse=True)
    assert [row['model'] for row in rows] == [f'{name.replace(" ", "_")}_224' for name in speed.SCALING]


def test_a_variant_without_training_is_tested(script, images, tmp_path):
    name = 'CAIT, no training'
    status, _, err = script('benchmarks/ablations.py', '--data-root', images, '--checkpoint', tmp_path / 'deit.pth',
                            '--variants', name, '--no-speed', '--out', tmp_path / 'out')
    assert status == 0, err
    [row] = shared.read_rows(tmp_path / 'out/ablations.csv')
    assert (row['variant'], row['data'], row['seed']) == (name, 'images', 0) and row['top1'] in (0, 25, 50, 75, 100)
    assert 41.7 < row['saved_percent'] < 50.6, 'merges alone save 41.7 %, zeros pad the widths'
    assert row['gmacs'] == pytest.approx(1.258 * (1 - row['saved_percent'] / 100), abs=1e-3)


@pytest.mark.parametrize('name', ['CDCP w/o head', 'CAIT, calibrated start'])
def test_a_variants_config_trains(tool, images, tmp_path, name):
    args = argparse.Namespace(data_root=images, checkpoint=tmp_path / 'deit.pth', steps=2)
    config = ablations.configure(tmp_path / 'config.py', ablations.VARIANTS[name], args.checkpoint, 0, args)
    status, _, err = tool('train.py', config, '--work-dir', tmp_path / 'run', '--check-only', '--cfg-options',
                          'train_dataloader.batch_size=2')
    assert status == 0, err


@pytest.mark.parametrize('name', ['swin', 'lvvit'])
def test_the_docs_config_of_a_small_classifier_trains(tool, images, tmp_path, name):
    page = (ROOT / 'docs/benchmarks.md').read_text()
    text = re.search(r'```python\n# configs/swin_20.py\n(.*?)```', page, re.DOTALL)[1]
    config = tmp_path / 'config.py'
    config.write_text(text.replace('./small/swin', f'{ROOT}/configs/small/{name}').replace('data/tiny_imagenet_20',
                                                                                           str(images)))
    status, _, err = tool('train.py', config, '--work-dir', tmp_path / 'run', '--check-only', '--cfg-options',
                          'train_dataloader.batch_size=2', 'model.num_classes=2')
    assert status == 0, err


def test_samples_are_arranged_as_the_docs_say(script, tmp_path):
    real_data('aerial_samples')
    status, _, err = script('benchmarks/samples.py', '--samples', DATA, '--out', tmp_path)
    assert status == 0, err
    counts = {'camvid/train': 0, 'potsdam/img_dir/train': 3, 'potsdam/ann_dir/val': 1, 'iSAID/img_dir/train': 6,
              'iSAID/ann_dir/val': 17, 'synapse/train_npz': 99, 'synapse/test_vol_h5': 10, 'coco/train2017': 100}
    for place, count in counts.items():
        folder = tmp_path / 'data' / place
        assert folder.is_dir() and (not count or len(list(folder.iterdir())) == count), place


def test_rows_with_the_same_keys_are_changed_and_others_stay(tmp_path):
    path = tmp_path / 'rows.csv'
    shared.keep_rows(path, [{'name': 'a', 'x': 1, 'note': 'b, "c"'}, {'name': 'b', 'x': 2}], ('name',))
    shared.keep_rows(path, [{'name': 'b', 'x': 3, 'y': 0.5}, {'name': 'c', 'x': 4}], ('name',))
    assert shared.read_rows(path) == [{'name': 'a', 'x': 1, 'note': 'b, "c"', 'y': ''},
                                      {'name': 'b', 'x': 3, 'note': '', 'y': 0.5},
                                      {'name': 'c', 'x': 4, 'note': '', 'y': ''}]


@pytest.mark.parametrize('row,wanted', [({'a': 1.5, 'b': 'noisy'}, '1.50x noisy'), ({'a': 1.5, 'b': ''}, '1.50x'),
                                        ({'b': 'noisy'}, ' noisy'), ({}, ''), ({'a': 0, 'b': ''}, '0.00x')])
def test_a_cell_leaves_out_missing_values(row, wanted):
    assert shared.cell('{a:.2f}x| {b}', row) == wanted
