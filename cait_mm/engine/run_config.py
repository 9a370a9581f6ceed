"""The config of a command line, checked to have its data and weights in place."""
import argparse
import os
from pathlib import Path

from mmengine.config import Config

from cait_mm.config.cli import add_json_option
from cait_mm.config.load import load_config
from cait_mm.config.options import add_cfg_options, add_data_root_option
from cait_mm.datasets.check_files import LOADERS, require_data
from cait_mm.datasets.root import move_data
from cait_mm.engine.processes import LAUNCHERS
from cait_mm.engine.start import require_weights
from cait_mm.errors import UserError
from cait_mm.utils.files import require_folder_place

TRAINING_PARTS = ('model', 'train_cfg', 'train_dataloader', 'optim_wrapper')
TEST_PARTS = ('model', 'test_cfg', 'test_dataloader', 'test_evaluator')


def add_run_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of every command that starts a Runner; :func:`read_run_config` reads them."""
    parser.add_argument('config', help='config file')
    parser.add_argument('--work-dir', help='where logs and checkpoints go (default: work_dirs/<config name>)')
    add_cfg_options(parser, 'change the config, for example train_cfg.max_iters=1000')
    add_data_root_option(parser)
    parser.add_argument('--launcher', choices=LAUNCHERS, default='none', help='who started the processes')
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0, help=argparse.SUPPRESS)
    add_json_option(parser)


def read_run_config(args: argparse.Namespace, training: bool) -> Config:
    """The config that the options of :func:`add_run_options` describe, with its work directory.

    Raises:
        UserError: The config cannot be read or lacks a part, its data or the weights to train from are missing, or the
            work directory cannot be a folder.
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


def forget_training(config: Config) -> None:
    """Remove the training parts: the Runner would build the training loop for any hook that asks for the iteration, and
    its data may not be there."""
    config.update(train_cfg=None, train_dataloader=None, optim_wrapper=None, param_scheduler=None)
