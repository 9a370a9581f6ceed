import runpy
import sys

import pytest
from conftest import ROOT


@pytest.fixture
def script(monkeypatch, capfd):
    """Run ``benchmarks/NAME WORDS`` in this process; returns (status, stdout, stderr), those of its children too."""

    def run(name, *words):
        monkeypatch.setattr(sys, 'argv', [name, *map(str, words)])
        monkeypatch.chdir(ROOT)
        with pytest.raises(SystemExit) as stop:
            runpy.run_path(str(ROOT / name), run_name='__main__')
        return (stop.value.code or 0, *capfd.readouterr())

    return run
