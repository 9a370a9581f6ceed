"""The rivals are compared at equal cost, and their figure shows all of them."""
import argparse

import _figures
import ablations
import pytest
import rivals
import shared
import tables

from cait_mm.config.cli import parse_merges
from cait_mm.macs import reduction
from cait_mm.spec import make_spec
from cait_mm.tasks import load_model

SAVED = reduction(make_spec('deit_tiny', parse_merges(rivals.MERGES)))


@pytest.mark.parametrize('name', rivals.TOKENS)
def test_tokens_alone_save_what_atme_saves(name):
    how = rivals.TOKENS[name]
    spec = make_spec('deit_tiny', parse_merges(how.get('merge', '')), tokens=how.get('tokens'))
    near = 0.03 if name.startswith('ToMe') or name == 'DiffRate' else 0.008  # these have numbers of their papers
    assert reduction(spec) == pytest.approx(SAVED, abs=near)


def test_variants_are_made_and_judged_once_and_cost_the_same(script, images, tmp_path):
    (images / 'labels.txt').write_text('val/cat/0.JPEG 281\nval/dog/1.JPEG 151\n')
    names = ('dense', 'LFE+LFS', 'ATME+LFS', 'magnitude', 'EViT')
    words = ('--sharp', images, '--small', images, '--checkpoint', tmp_path / 'deit.pth', '--calibration', 2,
             '--variants', *names, '--out', tmp_path / 'out')
    first, second = (script('benchmarks/rivals.py', *words) for _ in range(2))
    assert first[0] == 0, first[2]
    assert first[1] == second[1]
    rows = {row['variant']: row for row in shared.read_rows(tmp_path / 'out/rivals.csv')}
    assert tuple(rows) == names and rows['dense']['kl_sharp'] == 0 < rows['EViT']['kl_small']
    saved = [rows[name]['saved_percent'] / 100 for name in ('LFE+LFS', 'ATME+LFS', 'magnitude')]
    targets = [rivals.BOTH, rivals.BOTH, rivals.CHANNELS]
    assert all(target <= share < target + 0.005 for share, target in zip(saved, targets)), 'zeros of padding count'
    for name in names:
        spec = load_model(str(next((tmp_path / 'out/models').glob(f'{name}.pth')))).spec
        assert reduction(spec) == pytest.approx(rows[name]['saved_percent'] / 100)


@pytest.mark.parametrize('name', ['LFE+CDCP', 'dTPS'])
def test_a_variant_trains(tool, images, tmp_path, name):
    args = argparse.Namespace(data_root=images, checkpoint=tmp_path / 'deit.pth', steps=2, out=tmp_path)
    recipe = rivals.recipe(name, rivals.Maker(args))
    config = ablations.configure(tmp_path / 'config.py', recipe, args.checkpoint, 0, args)
    status, _, err = tool('train.py', config, '--work-dir', tmp_path / 'run', '--check-only', '--cfg-options',
                          'train_dataloader.batch_size=2')
    assert status == 0, err


def draw(path):
    _figures.draw_rivals(path, tables.classifiers(), tables.segmentors())


def test_the_figure_names_every_model_that_was_timed(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, 'DATA', tmp_path)
    draw(tmp_path / 'empty.svg')
    for name, speed in (('EViT', 1.5), ('ATME+CDCP', 1.9), ('LFS', '')):
        row = dict(variant=name, training='none', steps=0, seed=0, top1_small=80., fused_32_speedup=speed)
        shared.keep_rows(tmp_path / 'rivals.csv', [row, dict(row, training='labels', top1_small=85.)], rivals.KEYS)
    row = dict(task='camvid', variant='LFE, unstructured', steps=0, seed=0, score=3., encoder_speedup=1.2)
    shared.keep_rows(tmp_path / 'trained.csv', [row], ('task', 'variant', 'steps', 'seed'))
    name = 'upernet_evit_structured_deit_t_camvid'
    row = dict(task='rivals_camvid', config=name, after_mIoU=41., encoder_speedup=1.3)
    shared.keep_rows(tmp_path / 'tasks.csv', [row], ('task', 'config'))
    draw(tmp_path / 'rivals.svg')
    empty, drawn = ((tmp_path / f'{name}.svg').read_text() for name in ('empty', 'rivals'))
    for name in ('EViT', 'ATME+CDCP', 'LFE, unstructured', 'evit, structured'):
        assert name in drawn and name not in empty
    assert 'LFS' not in drawn and 'trained with labels' in empty
