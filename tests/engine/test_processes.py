import pytest
from mmengine.config import Config

from cait_mm.engine import processes
from cait_mm.errors import UserError


def test_processes_are_counted_for_the_launcher_in_use(monkeypatch):
    monkeypatch.setenv('WORLD_SIZE', '8')
    monkeypatch.setenv('SLURM_NTASKS', '16')
    assert [processes.process_count(name) for name in ('none', 'pytorch', 'slurm', 'mpi')] == [1, 8, 16, 1]


def test_launchers_without_processes_or_accelerator_are_a_sentence(monkeypatch):
    monkeypatch.setattr(processes, 'get_device', lambda: 'cpu')
    monkeypatch.delenv('RANK', raising=False)
    with pytest.raises(UserError, match='torchrun'):
        processes.start_processes(Config(), 'pytorch')
    with pytest.raises(UserError, match='needs an accelerator'):
        processes.start_processes(Config(), 'slurm')
