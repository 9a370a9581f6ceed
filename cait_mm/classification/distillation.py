"""Hard distillation: learn the class that a teacher sees (paper, section IV-A1; DeiT)."""
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import timm
import torch
import torch.nn.functional as F
from mmengine.logging import print_log
from mmengine.registry import MODELS
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from torch import Tensor, nn

from cait_mm.backbones import BACKBONES, CAITBackbone
from cait_mm.errors import UserError
from cait_mm.models.formats import find_weights
from cait_mm.utils.schema import is_number
from cait_mm.utils.weights import load_file


class HardDistillation:
    """``(1 - alpha) * CE(student, label) + alpha * CE(student, argmax teacher)``.

    It is no module, so the teacher is in no state dict, no optimizer and no copy of the student (DDP, EMA).

    Args:
        alpha: The teacher's share (paper: 0.1 for DeiT-T, 0.25 for S and B).
        teacher: Config of a registered model that maps images to logits; see :class:`TimmTeacher` for models of timm.
        num_classes: Classes of the student; the teacher has to have the same ones.

    Raises:
        UserError: The teacher cannot be built or has other classes.
    """

    def __init__(self, alpha: float, teacher: Mapping[str, Any], num_classes: int) -> None:
        if not is_number(alpha, 0, 1) or alpha == 0:
            raise UserError(f'model.distillation.alpha={alpha!r}: it is a share between 0 and 1.')
        self.alpha, self.config, self.num_classes = alpha, teacher, num_classes
        self._teacher: nn.Module | None = None

    def __call__(self, inputs: Tensor, logits: Tensor) -> Tensor:
        """The teacher's part of the loss, not yet weighted, for images (B, 3, H, W) and logits (B, classes)."""
        return F.cross_entropy(logits, self.labels(inputs))

    @torch.no_grad()
    def labels(self, inputs: Tensor) -> Tensor:
        """The classes (B,) that the teacher sees."""
        return self.teacher(inputs.device)(inputs).argmax(1)

    def teacher(self, device: str | torch.device = 'cpu') -> nn.Module:
        """The teacher on ``device``, built and loaded when it is first needed: evaluation never needs it."""
        if self._teacher is None:
            teacher = MODELS.build(dict(self.config))
            teacher.init_weights()
            classes = getattr(teacher, 'num_classes', self.num_classes)
            if classes != self.num_classes:
                raise UserError(f'the teacher has {classes} classes, the student {self.num_classes}: name a teacher of '
                                'the same classes in model.distillation.teacher, or set model.distillation=None.')
            self._teacher = teacher.requires_grad_(False).eval()
        return self._teacher.to(device)

    def __deepcopy__(self, memo: dict[int, Any]) -> 'HardDistillation':
        return self


def dense_teacher(backbone: CAITBackbone, num_classes: int, head_rows: Sequence[int] | None,
                  checkpoint: str | None = None) -> dict[str, Any]:
    """Config of the dense twin of ``backbone``, with the weights of ``checkpoint`` or those that it starts from.

    Raises:
        UserError: No file is named, and the backbone starts from none or from a compressed one.
    """
    init_cfg = dict(type='Pretrained', checkpoint=checkpoint) if checkpoint else backbone.init_cfg
    if not init_cfg or not init_cfg.get('checkpoint') or (backbone.spec.is_pruned and not checkpoint):
        raise UserError('distillation needs a teacher: this model does not start from a dense checkpoint, so name the '
                        'file of one (model.distillation.teacher=FILE), or set model.distillation=None.')
    return dict(type='Classifier', num_classes=num_classes, head_rows=head_rows,
                backbone=dict(type=BACKBONES[backbone.arch.family].__name__, arch=backbone.arch.to_dict(),
                              init_cfg=init_cfg))


@MODELS.register_module()
class TimmTeacher(nn.Module):
    """Any classifier of timm as a teacher.

    Args:
        name: The model's name, such as ``regnety_160.deit_in1k``.
        checkpoint: A local file with its weights.
        pretrained: Let timm download the weights instead.
        num_classes: The classes of the checkpoint, if they differ from those of the model.
        mean, std: The normalisation of the student's images, which is replaced by that of the teacher.

    Raises:
        UserError: timm does not know the name, or no weights are named.
    """

    def __init__(self, name: str, checkpoint: str | None = None, pretrained: bool = False,
                 num_classes: int | None = None, mean: Sequence[float] = IMAGENET_DEFAULT_MEAN,
                 std: Sequence[float] = IMAGENET_DEFAULT_STD) -> None:
        super().__init__()
        if not checkpoint and not pretrained:
            raise UserError(f'teacher {name} has no weights: give checkpoint=FILE, or pretrained=True for a download.')
        try:
            self.model = timm.create_model(name, pretrained=pretrained and not checkpoint,
                                           **({} if num_classes is None else {'num_classes': num_classes}))
        except Exception as error:  # timm raises RuntimeError, the hub a dozen types
            raise UserError(f'timm cannot make teacher {name} ({str(error).splitlines()[0]}).') from error
        self.name, self.checkpoint = name, checkpoint
        config = self.model.pretrained_cfg
        self.size = tuple(config['input_size'][1:]) if config.get('fixed_input_size') else None
        own_mean, own_std = (torch.tensor(config[key]).view(3, 1, 1) for key in ('mean', 'std'))
        mean, std = (torch.tensor(value).view(3, 1, 1) for value in (mean, std))
        self.register_buffer('scale', std / own_std)
        self.register_buffer('shift', (mean - own_mean) / own_std)

    @property
    def num_classes(self) -> int:
        return self.model.num_classes

    def init_weights(self) -> None:
        """Load the local checkpoint, if one was named."""
        if self.checkpoint:
            weights, notes = find_weights(self.checkpoint, load_file(self.checkpoint))
            try:
                self._load(weights)
            except RuntimeError as error:
                raise UserError(f'checkpoint {self.checkpoint} does not fit teacher {self.name}: '
                                f'{" ".join(str(error).split())[:400]}') from error
            print_log('; '.join([f'TimmTeacher: loaded {self.name} from {self.checkpoint}', *notes]), logger='current')

    def _load(self, weights: dict[str, Tensor]) -> None:
        """Load weights under timm's names, or under the authors' names if timm can convert them."""
        own = self.model.state_dict()
        convert = getattr(sys.modules[type(self.model).__module__], 'checkpoint_filter_fn', None)
        if convert is not None and {*own} != {*weights}:
            weights = convert(weights, self.model)
        self.model.load_state_dict(weights)

    def forward(self, inputs: Tensor) -> Tensor:
        """Images (B, 3, H, W), normalised for the student -> logits (B, classes)."""
        inputs = inputs * self.scale + self.shift
        if self.size and tuple(inputs.shape[-2:]) != self.size:
            inputs = F.interpolate(inputs, size=self.size, mode='bicubic', align_corners=False)
        return self.model(inputs)
