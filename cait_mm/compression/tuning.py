"""Tune a compressed segmentor or detector without labels, in a folder that holds the run until its end."""
import os
import shutil
import zlib
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from torch import nn

from cait_mm.compression.images import image_paths
from cait_mm.compression.model import Compressed
from cait_mm.compression.small_config import config_of
from cait_mm.datasets.slices import SCHEME
from cait_mm.engine.imitation import distance_of
from cait_mm.engine.processes import alone
from cait_mm.engine.recipe import use_amp
from cait_mm.engine.tuning_run import run_tuning, tuning_config
from cait_mm.errors import UserError
from cait_mm.models.base import backbone_inside
from cait_mm.pruning.tune import LEAST_IMAGES, MODULE_LR, Tuned, fingerprint
from cait_mm.utils.files import atomic_path, read_json, write_json
from cait_mm.utils.signals import Stopped

ABOUT, IMAGES, RUN, STUDENT, TEACHER = 'about.json', 'images.txt', 'run.py', 'student.pth', 'teacher.pth'
"""Files of the folder: what the run belongs to, its images, its config, and the weights of its models."""


def prepare_tuning(found: Compressed, images: str | os.PathLike | Sequence[str] | None, steps: int,
                   folder: str | os.PathLike, *, batch_size: int | None = None, lr: float = MODULE_LR,
                   amp: str | None = None, seed: int = 0) -> Config:
    """Write what a tuning run of ``found`` needs into ``folder``, if it is not there yet; the run's config.

    ``tools/train.py`` and ``tools/dist_train.sh`` train ``folder/run.py`` too.

    Args:
        found: A compressed model, untuned.
        images: A folder, a list of files, or None for the config's own training split; labels are not read.
        steps: How many.
        folder: Of this run alone.
        batch_size: Images in a step of one process; None is the config's.
        lr: Of the first step.
        amp: ``float16`` or ``bfloat16`` for mixed precision.
        seed: Of the run, and of the images that are held out.

    Raises:
        UserError: The images are too few, it is a kind of model that cannot be tuned, its pipelines need labels, or the
            folder holds something else.
    """
    folder = Path(folder).absolute()
    paths = [path if path.startswith(SCHEME) else os.path.abspath(path) for path in image_paths(found.config, images)]
    if len(paths) < LEAST_IMAGES:
        raise UserError(f'tuning needs {LEAST_IMAGES} images at least, and there are {len(paths)}: some hundreds are '
                        'better.')
    distance_of(found.small, found.dense)
    config = tuning_config(found.config, str(folder / STUDENT), config_of(found.config, backbone_inside(found.dense)),
                           str(folder / TEACHER), str(folder / IMAGES), steps, str(folder), lr, seed, batch_size)
    if amp:
        use_amp(config, amp)
    text = config.pretty_text
    _mark(folder, dict(steps=steps, lr=lr, batch_size=config.train_dataloader.batch_size, amp=amp,
                       images=_checksum('\n'.join(paths)), config=_checksum(text.replace(str(folder), '')),
                       student=fingerprint(found.small), teacher=fingerprint(found.dense)))
    for name, content in ((IMAGES, '\n'.join(paths)), (RUN, text)):
        with atomic_path(folder / name) as temporary:
            temporary.write_text(content, encoding='utf-8')
    _save(found.small, folder / STUDENT)
    _save(found.dense, folder / TEACHER)
    return config


def tune_compressed(found: Compressed, config: Config) -> Tuned:
    """Run a prepared tuning, or what is left of it, and put the best weights into ``found.small``.

    A run that is complete, wherever it was trained, is only read.

    Args:
        found: Its ``provenance`` gets ``tuned``.
        config: Of :func:`prepare_tuning`.
    """
    config.log_level = 'ERROR'
    try:
        with alone(config):
            weights, result = run_tuning(config)
    except Stopped as stop:
        raise Stopped(stop.status - 128, f'{config.work_dir} holds what was done: the same command continues from '
                                         'there') from stop
    found.small.load_state_dict(weights)
    count = len(Path(config.work_dir, IMAGES).read_text(encoding='utf-8').split('\n'))
    found.provenance['tuned'] = {**asdict(result), 'images': count - result.held_out}
    return result


def discard(folder: str | os.PathLike) -> None:
    """Remove a run's folder; a kill meanwhile leaves no part of it under its name."""
    folder = Path(folder)
    removed = folder.with_name(f'.{folder.name}.removed')
    shutil.rmtree(removed, ignore_errors=True)
    os.replace(folder, removed)
    shutil.rmtree(removed, ignore_errors=True)


def _mark(folder: Path, about: dict[str, Any]) -> None:
    """Have ``folder`` for the run that ``about`` describes.

    Raises:
        UserError: It holds something else.
    """
    if (folder / ABOUT).is_file():
        before = read_json(folder / ABOUT)
        other = [name for name, value in about.items() if before.get(name) != value]
        if other:
            raise UserError(f'{folder} holds another tuning run ({", ".join(other)} differ): remove it, or choose '
                            'another place.')
    elif folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f'{folder} is there already and holds no tuning run: remove it, or choose another place.')
    else:
        write_json(folder / ABOUT, about)


def _save(model: nn.Module, path: Path) -> None:
    if not path.exists():
        with atomic_path(path) as temporary:
            torch.save(dict(state_dict=model.state_dict()), temporary)


def _checksum(text: str) -> int:
    return zlib.crc32(text.encode())
