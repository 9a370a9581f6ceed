"""The processes of a run, and their lock on the work directory."""
import os
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.device import get_device

from cait_mm.errors import UserError
from cait_mm.utils.lock import locked

LAUNCHERS = ('none', 'pytorch', 'slurm', 'mpi')
_WORLD_SIZE = {'pytorch': 'WORLD_SIZE', 'slurm': 'SLURM_NTASKS', 'mpi': 'OMPI_COMM_WORLD_SIZE'}
_RANK = {'pytorch': 'RANK', 'slurm': 'SLURM_PROCID', 'mpi': 'OMPI_COMM_WORLD_RANK'}


def process_count(launcher: str) -> int:
    """The number of processes that ``launcher`` started, from its variables in the environment."""
    return int(os.environ.get(_WORLD_SIZE.get(launcher, ''), 1))


def require_free(config: Config) -> None:
    """Check that no other run is using the work directory, without creating it.

    Raises:
        UserError: Another run is using it.
    """
    if Path(config.work_dir).is_dir():
        with alone(config):
            pass


def alone(config: Config) -> AbstractContextManager:
    """A context in which this run alone has the work directory; of several processes the first one locks it.

    Raises:
        UserError: Another run is using it.
    """
    first = int(os.environ.get(_RANK.get(config.get('launcher', 'none'), ''), 0)) == 0
    return locked(config.work_dir) if first else nullcontext()


def start_processes(config: Config, launcher: str) -> None:
    """Set the launcher and, without an accelerator, start the process group over gloo (MMEngine would ask for CUDA).

    MMEngine also ties DDP to the device of the local rank, which fails for modules on a CPU.
    """
    config.launcher = launcher
    if launcher == 'none' or get_device() != 'cpu':
        return
    if launcher == 'pytorch' and 'RANK' not in os.environ:
        raise UserError('--launcher pytorch is for processes that torchrun started: use bash tools/dist_train.sh.')
    if launcher != 'pytorch':
        raise UserError(f'--launcher {launcher} needs an accelerator: on CPUs use pytorch.')
    torch.distributed.init_process_group('gloo')
    config.model_wrapper_cfg = dict(type='MMDistributedDataParallel', device_ids=None, broadcast_buffers=False)


def stop_processes() -> None:
    """Leave the process group together at the end of a run.

    A process that exits while the group's threads still serve another one may abort in gloo's destructors.
    """
    if torch.distributed.is_initialized():
        torch.distributed.barrier()
        torch.distributed.destroy_process_group()
