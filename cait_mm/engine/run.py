"""The Runner of a config, its model, and its result."""
import os
from itertools import count
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner

from cait_mm.engine.loops import VALIDATED
from cait_mm.engine.runner import CheckedRunner
from cait_mm.errors import UserError

_RUNS = count()


def unwrapped(runner: Runner) -> torch.nn.Module:
    """The model of a Runner without the wrapper that DDP puts around it."""
    return runner.model.module if is_model_wrapper(runner.model) else runner.model


def build_runner(config: Config, kind: type[CheckedRunner] = CheckedRunner) -> CheckedRunner:
    """The Runner of a config, with one name per work directory so that several can live in one process.

    Raises:
        UserError: A key or value of the config is wrong, or the config asks for a strategy (FSDP, DeepSpeed,
            ColossalAI), which this Runner would ignore, or which splits the weights that CDCP needs whole.
    """
    split = (config.get('strategy') or {}).get('type') or (config.get('model_wrapper_cfg') or {}).get('type', '')
    if config.get('strategy') or 'FullySharded' in split:
        why = 'CDCP needs whole weights and gradients in every process' if config.model.get('cdcp') else 'not supported'
        raise UserError(f'the config asks for {split}: {why}; train with DDP (bash tools/dist_train.sh).')
    config.setdefault('experiment_name', f'{Path(config.work_dir).name}_{os.getpid()}_{next(_RUNS)}')
    if config.get('visualizer'):
        config.visualizer['name'] = config.experiment_name  # MMEngine returns the same visualizer for the same name
    return kind.from_cfg(config)


def final_metrics(runner: CheckedRunner) -> dict[str, float]:
    """The metrics of the last iteration of a run; empty if it was not validated."""
    hub = runner.message_hub
    if hub.get_info(VALIDATED, None) != runner.iter:
        return {}
    return {name[len('val/'):]: float(value.current()) for name, value in hub.log_scalars.items()
            if name.startswith('val/') and 'time' not in name}
