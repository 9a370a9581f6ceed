import pytest
import yaml
from conftest import ROOT
from mmengine.config import Config

from cait_mm.config.load import load_config, moved_to
from cait_mm.errors import UserError


@pytest.mark.parametrize('content,message', [
    ('raise ValueError("no such thing.")', r'a\.py cannot be read: no such thing\.$'),
    ('a = ', r'a\.py cannot be read: .*[^.]\.$'),
])
def test_a_config_that_cannot_be_read_is_one_sentence(tmp_path, content, message):
    (tmp_path / 'a.py').write_text(content)
    with pytest.raises(UserError, match=message):
        load_config(str(tmp_path / 'a.py'))


def test_a_folder_is_called_one(tmp_path):
    with pytest.raises(UserError, match='is a folder: name a file in it'):
        load_config(str(tmp_path))
    with pytest.raises(UserError, match='none.py does not exist'):
        load_config(str(tmp_path / 'none.py'))


@pytest.fixture
def folder(tmp_path):
    """A folder like configs/: one config at the top, two in small/, two of the three under another name than before."""
    (tmp_path / 'small').mkdir()
    for name in ('dense_600e', 'small/twin', 'small/dense'):
        (tmp_path / f'{name}.py').write_text(f'name = "{name}"\n')
    (tmp_path / 'moved.yml').write_text('compress_dense: dense_600e\ncompress_small: dense\n')
    return tmp_path


@pytest.mark.parametrize('old,new', [
    ('compress_dense', 'dense_600e'), ('twin', 'small/twin'), ('compress_small', 'small/dense')])
def test_a_config_that_has_moved_is_found_by_its_old_path(folder, capsys, old, new):
    for _ in range(2):
        assert load_config(str(folder / f'{old}.py')).name == new
    assert capsys.readouterr().err == f'note: {folder / old}.py is now {folder / new}.py.\n'


def test_a_config_where_it_was_is_taken_without_a_note(folder, capsys):
    (folder / 'twin.py').write_text('name = "mine"\n')
    assert load_config(str(folder / 'twin.py')).name == 'mine'
    assert not capsys.readouterr().err


@pytest.mark.parametrize('old,new', [('compress_dense', 'dense_600e'), ('twin', 'small/twin')])
def test_a_base_that_has_moved_is_found(folder, capsys, old, new):
    place = vars(Config)['_get_cfg_path']
    (folder / 'mine.py').write_text(f'_base_ = "{folder}/{old}.py"\nnumber = 1\n')
    config = load_config(str(folder / 'mine.py'))
    assert (config.name, config.number) == (new, 1)
    assert f'note: {folder / old}.py is now {folder / new}.py.\n' in capsys.readouterr().err
    (folder / 'mine.py').write_text('_base_ = "./none.py"\n')
    with pytest.raises(UserError, match=r"No such file or directory: '.*none\.py'\.$"):
        load_config(str(folder / 'mine.py'))
    assert vars(Config)['_get_cfg_path'] is place, 'MMEngine is as it was'


def test_every_small_and_every_renamed_config_is_found_where_it_was():
    configs = ROOT / 'configs'
    for path in (configs / 'small').glob('*.py'):
        assert moved_to(str(configs / path.name)) == str(path)
    for old, new in yaml.safe_load((configs / 'moved.yml').read_text()).items():
        assert moved_to(str(configs / f'{old}.py')).endswith(f'/{new}.py')
