"""The docs show what was measured."""
import pytest
import shared
import speed
import tables
from conftest import ROOT


@pytest.mark.parametrize('page', sorted((ROOT / 'docs').glob('*.md')), ids=lambda page: page.name)
def test_the_docs_show_the_rows_of_the_data(page):
    text = page.read_text()
    assert tables.refreshed(text) == text


def test_a_table_changes_with_its_rows(script, tmp_path, monkeypatch):
    page = (ROOT / 'docs/performance.md').read_text()
    (tmp_path / 'performance.md').write_text(page.replace('**1.91**', '**9.99**'))
    assert script('benchmarks/tables.py', '--check', '--out', tmp_path)[0] == 2
    assert script('benchmarks/tables.py', '--out', tmp_path)[0] == 0
    assert (tmp_path / 'performance.md').read_text() == page
    drawn = (tmp_path / 'images/targets.svg').read_text()
    assert all(row['what'] in drawn for row in tables.TABLES['targets'].rows() if row['unit'] == 'x')


def test_targets_are_rows_of_the_speed_table():
    timed = {(row['ms'], row['speedup']) for row in shared.read_rows(tables.DATA / 'speed.csv')}
    for row in tables.TABLES['targets'].rows():
        assert row['unit'] != 'x' or (row['ms'], row['measured']) in timed, row['what']


@pytest.mark.parametrize('name,keys', [('speed', speed.KEYS), ('means', ('means', 'batch', 'machine')),
                                       ('ablations', ('variant', 'data', 'seed')), ('tasks', ('task', 'config'))])
def test_no_row_of_the_docs_is_lost_when_others_are_added(tmp_path, name, keys):
    before = (tables.DATA / f'{name}.csv').read_text()
    (tmp_path / 'rows.csv').write_text(before)
    rows = shared.read_rows(tmp_path / 'rows.csv')
    shared.keep_rows(tmp_path / 'rows.csv', rows[:1], keys)
    assert shared.read_rows(tmp_path / 'rows.csv') == rows
