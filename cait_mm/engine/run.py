"""Turn a config and the command line's wishes into a Runner, for every library of the project."""
import argparse
import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from itertools import count
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.logging import print_log
from mmengine.model import is_model_wrapper
from mmengine.optim import AmpOptimWrapper, OptimWrapper
from mmengine.registry import OPTIM_WRAPPERS
from mmengine.runner import Runner

from cait_mm.classification.cdcp_settings import CDCPSettings
from cait_mm.config.cli import add_json_option
from cait_mm.config.load import load_config
from cait_mm.config.options import add_cfg_options, add_data_root_option
from cait_mm.datasets.check import LOADERS, require_data
from cait_mm.datasets.root import move_data
from cait_mm.engine.loops import VALIDATED
from cait_mm.engine.resume import with_others
from cait_mm.engine.runner import CheckedRunner
from cait_mm.errors import UserError, reason_of
from cait_mm.models.checkpoint import WEIGHTS_PAGE, read_checkpoint
from cait_mm.utils.files import newest_checkpoint, require_folder_place
from cait_mm.utils.inputs import require_file
from cait_mm.utils.lock import locked

TRAINING_PARTS = ('model', 'train_cfg', 'train_dataloader', 'optim_wrapper')
TEST_PARTS = ('model', 'test_cfg', 'test_dataloader', 'test_evaluator')
LAUNCHERS = ('none', 'pytorch', 'slurm', 'mpi')
_WORLD_SIZE = {'pytorch': 'WORLD_SIZE', 'slurm': 'SLURM_NTASKS', 'mpi': 'OMPI_COMM_WORLD_SIZE'}
_RANK = {'pytorch': 'RANK', 'slurm': 'SLURM_PROCID', 'mpi': 'OMPI_COMM_WORLD_RANK'}
_RUNS = count()


def add_run_options(parser: argparse.ArgumentParser) -> None:
    """Add what every command that starts a Runner takes; :func:`read_run_config` reads it."""
    parser.add_argument('config', help='config file')
    parser.add_argument('--work-dir', help='where logs and checkpoints go (default: work_dirs/<config name>)')
    add_cfg_options(parser, 'change the config, for example train_cfg.max_iters=1000')
    add_data_root_option(parser)
    parser.add_argument('--launcher', choices=LAUNCHERS, default='none', help='who started the processes')
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0, help=argparse.SUPPRESS)
    add_json_option(parser)


def read_run_config(args: argparse.Namespace, training: bool) -> Config:
    """The config that :func:`add_run_options` describe, with its work directory; its data, and weights to train from,
    are there.

    Raises:
        UserError: The config cannot be read or lacks a part, data or weights are missing, or the work directory can be
            no folder.
    """
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    config = load_config(args.config, args.cfg_options)
    lacking = [key for key in (TRAINING_PARTS if training else TEST_PARTS) if config.get(key) is None]
    if lacking:
        raise UserError(f'config {args.config} has no {", ".join(lacking)}: it cannot be '
                        f'{"trained" if training else "evaluated"}.')
    if args.data_root is not None:
        move_data(config, args.data_root)
    require_data(config, args.config, LOADERS if training else ('test_dataloader',))
    if training:
        require_weights(config, resumed=bool(getattr(args, 'resume', None)))
    config.work_dir = args.work_dir or config.get('work_dir') or str(Path('work_dirs') / Path(args.config).stem)
    require_folder_place(config.work_dir)
    return config


def require_weights(config: Config, resumed: bool = False) -> None:
    """Stop before a run whose model starts from a local file that is not there.

    Args:
        config: Its ``load_from`` counts where the run does not resume from another file.
        resumed: The command line names what to resume from.

    Raises:
        UserError: Names the file and the key that names it.
    """
    model = dict(config.model)
    if not (model.get('distillation') or {}).get('alpha'):
        model.pop('distillation', None)  # a teacher that nobody listens to is not loaded
    start = {} if resumed or not config.get('load_from') else {'load_from': config.load_from}
    for key, path in [*_pretrained(model, 'model'), *start.items()]:
        if '://' not in path and not Path(path).is_file():
            raise UserError(f'checkpoint {path} does not exist: see {WEIGHTS_PAGE} for how to get or make it, or give '
                            f'another with --cfg-options {key}=FILE.')


def _pretrained(node: Any, key: str) -> Iterator[tuple[str, str]]:
    """The keys and files of every ``dict(type='Pretrained', checkpoint=FILE)`` and ``teacher=FILE`` below ``node``."""
    if isinstance(node, str) and key.endswith('.teacher'):
        yield key, node
    elif isinstance(node, Mapping):
        if node.get('type') == 'Pretrained' and isinstance(node.get('checkpoint'), str):
            yield f'{key}.checkpoint', node['checkpoint']
        for name, value in node.items():
            yield from _pretrained(value, f'{key}.{name}')
    elif isinstance(node, (list, tuple)):
        for index, value in enumerate(node):
            yield from _pretrained(value, f'{key}.{index}')


def process_count(launcher: str) -> int:
    """How many processes ``launcher`` started, from what it left in the environment."""
    return int(os.environ.get(_WORLD_SIZE.get(launcher, ''), 1))


def require_free(config: Config) -> None:
    """Look whether another run is using the work directory; make nothing.

    Raises:
        UserError: One is.
    """
    if Path(config.work_dir).is_dir():
        with alone(config):
            pass


def alone(config: Config) -> AbstractContextManager:
    """Have the work directory for this run alone in here; of several processes the first one has it.

    Raises:
        UserError: Another run is using it.
    """
    first = int(os.environ.get(_RANK.get(config.get('launcher', 'none'), ''), 0)) == 0
    return locked(config.work_dir) if first else nullcontext()


def start_processes(config: Config, launcher: str) -> None:
    """Note the launcher and, without an accelerator, start the process group over gloo (MMEngine would ask for CUDA).

    MMEngine also pins DDP to the device of the local rank, which a CPU module cannot have.
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


def use_amp(config: Config, dtype: str = 'float16') -> None:
    """Switch the config to mixed precision in ``dtype``.

    Raises:
        UserError: There is no accelerator, or the optimizer wrapper is a special one.
    """
    if get_device() == 'cpu':
        raise UserError('--amp needs an accelerator: leave it out on a CPU.')
    wrapper = config.optim_wrapper
    kind = OPTIM_WRAPPERS.get(wrapper.type) if isinstance(wrapper.type, str) else wrapper.type
    if kind not in (OptimWrapper, AmpOptimWrapper):
        raise UserError(f'--amp cannot change optim_wrapper type {wrapper.type}: set it in the config.')
    wrapper.type = 'AmpOptimWrapper'
    wrapper.dtype = dtype
    wrapper.setdefault('loss_scale', 'dynamic')


def set_epochs(config: Config, epochs: int) -> None:
    """Make a recipe of epochs longer or shorter: its length, its schedulers and the start of CDCP's ramp keep their
    proportions.

    Raises:
        UserError: The config counts iterations.
    """
    old = config.train_cfg.get('max_epochs')
    if not old or epochs < 1:
        raise UserError(f'--epochs {epochs} does not fit: it is a positive number, for configs that count epochs; '
                        'others take --cfg-options train_cfg.max_iters=N.')
    config.train_cfg.max_epochs = epochs
    schedulers = [scheduler for scheduler in config.get('param_scheduler') or [] if scheduler.get('by_epoch', True)]
    for scheduler in schedulers:
        for key in ('begin', 'end', 'T_max'):
            if scheduler.get(key):
                scheduler[key] = max(min(1, epochs - 1), round(scheduler[key] * epochs / old))
    # A run of one epoch has no room for a warm-up of whole epochs.
    empty = [scheduler for scheduler in schedulers if 'end' in scheduler and scheduler.get('begin', 0) >= scheduler.end]
    if empty:
        config.param_scheduler = [scheduler for scheduler in config.param_scheduler if scheduler not in empty]
    cdcp = config.model.get('cdcp')
    if cdcp:
        cdcp.start_epoch = cdcp.get('start_epoch', CDCPSettings.start_epoch) * epochs / old


def set_total_batch(config: Config, total: int | None, processes: int) -> None:
    """Divide ``total`` over the processes and accumulated steps; without it, say when the recipe wants another one.

    Raises:
        UserError: ``total`` does not divide evenly.
    """
    accumulated = config.optim_wrapper.get('accumulative_counts', 1)
    loader = config.train_dataloader
    if total is not None:
        if total < 1 or total % (processes * accumulated):
            raise UserError(f'--total-batch-size {total} does not divide into {processes} processes x {accumulated} '
                            'accumulated steps.')
        loader.batch_size = total // (processes * accumulated)
    have = loader.batch_size * processes * accumulated
    want = config.get('auto_scale_lr', {}).get('base_batch_size')
    if want and have != want and not config.auto_scale_lr.get('enable'):
        print_log(
            f'The total batch is {have} ({loader.batch_size} x {processes} processes x {accumulated} accumulated), '
            f'the recipe\'s learning rate belongs to {want}. Use --total-batch-size {want} to keep it, or '
            '--cfg-options auto_scale_lr.enable=True to scale the learning rate.',
            logger='current', level=logging.WARNING)


def resume_from(config: Config, checkpoint: str) -> None:
    """Continue from ``checkpoint``, or for ``auto`` from the newest one in the work directory, if there is one.

    What is in it is read once, by the Runner.

    Raises:
        UserError: It is missing, cut off or no local file; names the older ones that are left.
    """
    path, note = checkpoint, Path(config.work_dir, 'last_checkpoint')
    try:
        if checkpoint == 'auto':
            path = newest_checkpoint(config.work_dir)
            if path is None and note.is_file():
                raise UserError(f'{note} names no file that is there: name one, or delete it and start again.')
        elif '://' in path:
            raise UserError(f'{path} is no local file: download it first.')
        else:
            require_file(path)
    except UserError as error:
        raise with_others(error, str(note) if checkpoint == 'auto' else checkpoint) from error
    config.resume = path is not None
    if path is None:
        print_log(f'{config.work_dir} holds no checkpoint: the run starts from its beginning.', logger='current')
    else:
        config.load_from = path


def use_export(config: Config, path: str) -> None:
    """Have a classification config evaluate a folded classifier: its weights and widths are those of the export.

    Raises:
        UserError: The config is no classifier's: an export has no weights for other heads.
    """
    kind = config.model.get('type')
    if kind != 'Classifier':
        raise UserError(f'{path} is the export of a classifier, and the model of this config is {kind}: give a '
                        'checkpoint that was trained with it, or a compress_* config.')
    config.model.backbone.init_cfg = dict(type='Pretrained', checkpoint=path)
    config.model.update(cdcp=None, distillation=None, new_head=False)
    if len(read_checkpoint(path).state_dict.get('head.weight', ())) == config.model.get('num_classes', 1000):
        config.model.head_rows = None


def draw_predictions(config: Config, folder: str | None = None, interval: int = 1) -> None:
    """Have the library's visualization hook draw every ``interval``-th prediction, into ``folder`` where given.

    Raises:
        UserError: The config has no such hook.
    """
    hook = config.get('default_hooks', {}).get('visualization')
    if not hook or 'visualizer' not in config:
        raise UserError('this config has no visualization hook and visualizer, so nothing can be drawn.')
    hook.draw, hook.interval = True, interval
    if folder:
        config.visualizer['save_dir'] = folder
        config.visualizer.setdefault('vis_backends', [dict(type='LocalVisBackend')])


def add_tensorboard(config: Config) -> None:
    """Have the run write TensorBoard scalars too.

    Raises:
        UserError: TensorBoard is not installed, or the config has no visualizer.
    """
    try:
        import torch.utils.tensorboard  # noqa: F401
    except ImportError as error:
        raise UserError(f'--tensorboard needs TensorBoard, which cannot be imported ({reason_of(error)}): pip install '
                        'tensorboard.') from error
    if not config.get('visualizer'):
        raise UserError('this config has no visualizer, so --tensorboard has nowhere to write.')
    config.visualizer['vis_backends'] = [*(config.visualizer.get('vis_backends') or []),
                                         dict(type='TensorboardVisBackend')]


def forget_training(config: Config) -> None:
    """Leave only what an evaluation needs: a hook that asks for the iteration would have the Runner build the training
    loop, whose data may not be there."""
    config.update(train_cfg=None, train_dataloader=None, optim_wrapper=None, param_scheduler=None)


def unwrapped(runner: Runner) -> torch.nn.Module:
    """The model of a Runner without the wrapper that DDP puts around it."""
    return runner.model.module if is_model_wrapper(runner.model) else runner.model


def build_runner(config: Config, kind: type[CheckedRunner] = CheckedRunner) -> CheckedRunner:
    """The Runner of a config, with one name per work directory so that several can live in one process.

    Raises:
        UserError: A key or value of the config is wrong, or it asks for a strategy (FSDP, DeepSpeed, ColossalAI) that
            this Runner would ignore, or that splits the weights CDCP needs whole.
    """
    split = (config.get('strategy') or {}).get('type') or (config.get('model_wrapper_cfg') or {}).get('type', '')
    if config.get('strategy') or 'FullySharded' in split:
        why = 'CDCP needs whole weights and gradients in every process' if config.model.get('cdcp') else 'not supported'
        raise UserError(f'the config asks for {split}: {why}; train with DDP (bash tools/dist_train.sh).')
    config.setdefault('experiment_name', f'{Path(config.work_dir).name}_{os.getpid()}_{next(_RUNS)}')
    if config.get('visualizer'):
        config.visualizer['name'] = config.experiment_name  # MMEngine hands out the same one for the same name
    return kind.from_cfg(config)


def final_metrics(runner: CheckedRunner) -> dict[str, float]:
    """The metrics of a run's last iteration; empty where it was not validated."""
    hub = runner.message_hub
    if hub.get_info(VALIDATED, None) != runner.iter:
        return {}
    return {name[len('val/'):]: float(value.current()) for name, value in hub.log_scalars.items()
            if name.startswith('val/') and 'time' not in name}
