import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer

from cait_mm.engine.loader import load_file
from cait_mm.errors import UserError
from cait_mm.utils import weights


def test_mmengines_history_buffers_load_with_weights_only(tmp_path):
    buffer = HistoryBuffer([1., 2.], [1, 1])
    content = {'log': {'loss': buffer}, 'scalar': np.float64(3.5), 'array': np.arange(3), 'best': np.float32(1)}
    torch.save(content, tmp_path / 'a.pth')
    loaded = load_file(tmp_path / 'a.pth')
    assert loaded['log']['loss'].mean() == 1.5 and loaded['scalar'] == 3.5 and loaded['array'].tolist() == [0, 1, 2]


class Sneaky:
    def __reduce__(self):
        return getattr, (HistoryBuffer, '__init__')


class Evil:
    def __reduce__(self):
        return getattr, (np.ndarray, 'tofile')


def test_getattr_names_history_buffers_methods_and_nothing_else(tmp_path):
    torch.save(Sneaky(), tmp_path / 'a.pth')
    assert load_file(tmp_path / 'a.pth') is HistoryBuffer.__init__
    torch.save(Evil(), tmp_path / 'b.pth')
    for read in (load_file, weights.load_file):
        with pytest.raises(UserError, match='may not refer to'):
            read(tmp_path / 'b.pth')


def test_without_mmengine_a_history_is_inert_and_nothing_stays_allowed(tmp_path):
    before = set(torch.serialization.get_safe_globals())
    torch.save({'log': HistoryBuffer([1., 2.], [1, 1]), 'a': torch.ones(1)}, tmp_path / 'a.pth')
    for read in (load_file, weights.load_file):
        assert read(tmp_path / 'a.pth')['a'] == 1
    assert not isinstance(weights.load_file(tmp_path / 'a.pth')['log'], HistoryBuffer)
    assert set(torch.serialization.get_safe_globals()) == before
    with pytest.raises(Exception, match='HistoryBuffer was not an allowed global'):
        torch.load(tmp_path / 'a.pth', weights_only=True)
