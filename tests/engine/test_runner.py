from pathlib import Path
from types import SimpleNamespace

import pytest

from cait_mm.engine.runner import CheckedRunner


def test_a_config_is_written_whole_or_not_at_all(tmp_path):
    class Killed:
        filename = 'elsewhere/config.py'

        def dump(self, path):
            Path(path).write_text('half')
            raise KeyboardInterrupt

    (tmp_path / 'config.py').write_text('whole')
    with pytest.raises(KeyboardInterrupt):
        CheckedRunner._write_config(SimpleNamespace(cfg=Killed(), work_dir=tmp_path))
    assert [path.read_text() for path in tmp_path.iterdir()] == ['whole']
