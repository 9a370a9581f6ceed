import pytest

from cait_mm.config.load import load_config
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
