import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer

import cait_mm  # noqa: F401  (allows the types)


def test_mmengines_history_buffers_load_with_weights_only(tmp_path):
    buffer = HistoryBuffer([1., 2.], [1, 1])
    content = {'log': {'loss': buffer}, 'scalar': np.float64(3.5), 'array': np.arange(3), 'best': np.float32(1)}
    torch.save(content, tmp_path / 'a.pth')
    loaded = torch.load(tmp_path / 'a.pth', weights_only=True)
    assert loaded['log']['loss'].mean() == 1.5 and loaded['scalar'] == 3.5 and loaded['array'].tolist() == [0, 1, 2]


class Sneaky:
    def __reduce__(self):
        return getattr, (HistoryBuffer, '__init__')


class Evil:
    def __reduce__(self):
        return getattr, (np.ndarray, 'tofile')


def test_getattr_names_history_buffers_methods_and_nothing_else(tmp_path):
    torch.save(Sneaky(), tmp_path / 'a.pth')
    assert torch.load(tmp_path / 'a.pth', weights_only=True) is HistoryBuffer.__init__
    torch.save(Evil(), tmp_path / 'b.pth')
    with pytest.raises(Exception, match='may not refer to'):
        torch.load(tmp_path / 'b.pth', weights_only=True)
