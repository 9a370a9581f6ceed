import platform
import subprocess
import sys
from types import SimpleNamespace

import pytest

from cait_mm.errors import UserError
from cait_mm.utils import memory

FAULTS = """
import resource, sys
import torch
from cait_mm.utils.memory import keep_freed_memory
if sys.argv[1] == 'keep':
    keep_freed_memory()
for _ in range(20):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.zeros(64 * 2**20, dtype=torch.uint8)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != 'glibc', reason='an option of glibc')
def test_a_kept_tensor_needs_no_new_pages():
    kept, returned = (int(subprocess.run([sys.executable, '-c', FAULTS, how], capture_output=True, text=True,
                                         check=True).stdout) for how in ('keep', 'return'))
    assert kept < 100 < returned


def test_another_c_library_is_a_sentence(monkeypatch):
    monkeypatch.setattr(memory.ctypes, 'CDLL', lambda name: SimpleNamespace())
    with pytest.raises(UserError, match='option of glibc'):
        memory.keep_freed_memory()
