"""Tuning whole segmentors and detectors without labels, as a model that MMEngine's Runner trains."""
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from mmengine.config import ConfigDict
from mmengine.dist import is_main_process
from mmengine.evaluator import BaseMetric
from mmengine.hooks import Hook
from mmengine.model import BaseModel, revert_sync_batchnorm
from mmengine.registry import HOOKS, METRICS, MODELS
from torch import Tensor, nn

from cait_mm.config.outcome import show_tuning
from cait_mm.engine.imitation import distance_of
from cait_mm.pruning.imitate import MAPS, maps_error
from cait_mm.pruning.tune import Progress, Tuned
from cait_mm.utils.files import read_json, write_json
from cait_mm.utils.weights import fitting, load_file

STUDENT = 'student.'
"""Before the names of the tuned model's weights in a checkpoint."""
TUNED = 'tuned.json'
"""How a tuning run went, in its work directory; it is there once the run is complete."""


@MODELS.register_module()
class LabelFreeTuning(BaseModel):
    """A student that learns to answer like its teacher, both whole segmentors or detectors.

    The teacher belongs to no state dict, no optimizer and no copy. Both stay in eval mode: dropout and stochastic depth
    are off, and batch norms keep their statistics. An auxiliary head is not tuned.

    Args:
        student, teacher: Configs of the models.
        student_checkpoint, teacher_checkpoint: Files with all of their weights.
        maps: The weight of the error of the backbone's maps, relative to the KL of predictions.

    Raises:
        UserError: Weights do not fit, or it is a kind of model that cannot be tuned.
    """

    def __init__(self, student: Mapping[str, Any], teacher: Mapping[str, Any], student_checkpoint: str,
                 teacher_checkpoint: str, maps: float = MAPS) -> None:
        own = loaded(student, student_checkpoint)
        super().__init__(data_preprocessor=own.data_preprocessor)
        self.student, self.maps = own.requires_grad_(True), maps
        for name in ('auxiliary_head', 'data_preprocessor'):
            for parameter in nn.ModuleList(filter(None, [getattr(own, name, None)])).parameters():
                parameter.requires_grad = False
        self._outside = (loaded(teacher, teacher_checkpoint).requires_grad_(False).eval(), )
        self.distance = distance_of(own, self._outside[0])

    def init_weights(self) -> None:
        """Nothing: the weights are there."""

    def train(self, mode: bool = True) -> 'LabelFreeTuning':
        super().train(mode)
        self.student.eval()
        return self

    def val_step(self, data: Any) -> list[dict[str, float]]:
        return self._run_forward(self.data_preprocessor(data, True), mode='predict')

    def forward(self, inputs: Tensor, data_samples: Sequence[Any], mode: str = 'loss') -> Any:
        """Losses for images (B, 3, H, W); with ``mode='predict'`` one ``dict(kl=...)`` for the batch."""
        teacher = self._outside[0].to(inputs.device)
        with torch.no_grad():
            wanted = as_maps(teacher.backbone(inputs))
            seen = necked(teacher, wanted)
        maps = as_maps(self.student.backbone(inputs))
        losses = self.distance(self.student, teacher, necked(self.student, maps), seen, data_samples)
        if mode == 'predict':
            return [dict(kl=float(sum(losses.values())))]
        error = maps_error(maps, wanted)
        return {**losses, 'loss_maps': self.maps * error}


def loaded(config: Mapping[str, Any], checkpoint: str) -> nn.Module:
    """A model with all of its weights from a file.

    Raises:
        UserError: The file cannot be read or does not fit.
    """
    model = revert_sync_batchnorm(MODELS.build(ConfigDict(config)))
    content = load_file(checkpoint)
    with fitting(checkpoint):
        model.load_state_dict(content.get('state_dict', content))
    return model


def as_maps(maps: Tensor | Sequence[Tensor]) -> tuple[Tensor, ...]:
    return (maps, ) if isinstance(maps, Tensor) else tuple(maps)


def necked(model: nn.Module, maps: tuple[Tensor, ...]) -> Any:
    return model.neck(maps) if model.with_neck else maps


@METRICS.register_module()
class HeldOutKL(BaseMetric):
    """``kl``: the mean distance from the teacher over the batches of images held out."""

    def process(self, data_batch: Any, data_samples: Sequence[Mapping[str, float]]) -> None:
        self.results += [float(sample['kl']) for sample in data_samples]

    def compute_metrics(self, results: list[float]) -> dict[str, float]:
        return {'kl': sum(results) / len(results)}


@HOOKS.register_module()
class TuningHook(Hook):
    """Validate before the first step, so that the best checkpoint is never worse than the start; say at every
    validation how far the run is; write :data:`TUNED` into the work directory at its end.
    """

    priority = 'LOWEST'

    def before_train(self, runner: Any) -> None:
        self.begun, self.first = time.monotonic(), runner.iter
        if not runner.iter:
            runner.val_loop.run()

    def after_val_epoch(self, runner: Any, metrics: Mapping[str, float] | None = None) -> None:
        done = runner.iter - self.first
        if done and is_main_process():
            pace = (time.monotonic() - self.begun) / done
            show_tuning(Progress(runner.iter, runner.max_iters, metrics['kl'], pace * (runner.max_iters - runner.iter)))

    def after_train(self, runner: Any) -> None:
        if is_main_process():
            best, result = outcome(runner)
            write_json(Path(runner.work_dir, TUNED), {'best': best, **asdict(result)})


def outcome(runner: Any) -> tuple[str, Tuned]:
    """The name of the best checkpoint of a run that is complete, and how it went."""
    hub = runner.message_hub
    best, after = Path(hub.get_info('best_ckpt')), float(hub.get_info('best_score'))
    looks = [float(value) for value in hub.get_scalar('val/kl').data[0]]
    step, count = int(best.stem.rpartition('_')[2]), len(runner.val_dataloader.dataset)
    note = None
    if step == 0:
        note = (f'no step brought the model nearer to the dense one on the {count} images held out, so its weights are '
                'as they were: give more images, like those that it was trained on, or a lower lr.')
    elif not looks[-1] <= 1.02 * after:
        note = (f'the distance on the {count} images held out rose again after step {step}, from {after:.4f} to '
                f'{looks[-1]:.4f}: the images are too few; the weights are those of that step.')
    return best.name, Tuned(looks[0], after, step, runner.iter, count, note)


def read_outcome(work_dir: str | os.PathLike) -> tuple[dict[str, Tensor], Tuned]:
    """The best weights of the tuned model, and how it went, from the folder of a tuning run that is complete.

    Raises:
        UserError: A file is missing or damaged.
    """
    result = read_json(Path(work_dir, TUNED))
    weights = load_file(Path(work_dir, result.pop('best')))['state_dict']
    return {name.removeprefix(STUDENT): value for name, value in weights.items() if name.startswith(STUDENT)
            }, Tuned(**result)
