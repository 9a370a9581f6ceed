"""Tuning whole segmentors and detectors without labels, as a model that MMEngine's Runner trains."""
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from mmengine.config import ConfigDict
from mmengine.evaluator import BaseMetric
from mmengine.hooks import Hook
from mmengine.model import BaseModel, revert_sync_batchnorm
from mmengine.registry import HOOKS, METRICS, MODELS
from torch import Tensor, nn

from cait_mm.engine.imitation import distance_of
from cait_mm.pruning.imitate import MAPS, map_error
from cait_mm.utils.weights import fitting, load_file

STUDENT = 'student.'
"""The prefix of the tuned model's weights in a checkpoint."""


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
        error = torch.stack([map_error(*both) for both in zip(maps, wanted)]).mean()
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


def tuned_weights(checkpoint: str) -> dict[str, Tensor]:
    """The weights of the tuned model in a checkpoint of a tuning run."""
    weights = load_file(checkpoint)['state_dict']
    return {name.removeprefix(STUDENT): value for name, value in weights.items() if name.startswith(STUDENT)}


@METRICS.register_module()
class HeldOutKL(BaseMetric):
    """``kl``: the mean distance from the teacher over the batches of images held out."""

    def process(self, data_batch: Any, data_samples: Sequence[Mapping[str, float]]) -> None:
        self.results += [float(sample['kl']) for sample in data_samples]

    def compute_metrics(self, results: list[float]) -> dict[str, float]:
        return {'kl': sum(results) / len(results)}


@HOOKS.register_module()
class LookFirstHook(Hook):
    """Validate before the first step, so that the best checkpoint is never worse than the start."""

    priority = 'LOWEST'

    def before_train(self, runner: Any) -> None:
        if not runner.iter:
            runner.val_loop.run()
