"""The classifier that configs name: the plain one, with training by distillation and CDCP, and prediction."""
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from mmengine.logging import print_log
from mmengine.model import BaseModel
from mmengine.registry import MODELS
from timm.loss import LabelSmoothingCrossEntropy, SoftTargetCrossEntropy
from torch import Tensor

from cait_mm.classification.cdcp_settings import CDCPSettings
from cait_mm.classification.distillation import HardDistillation, dense_teacher
from cait_mm.errors import UserError
from cait_mm.models import Backbone, classifier_backbone
from cait_mm.models.checkpoint import Checkpoint, LoadReport, read_checkpoint
from cait_mm.models.classifier import Classifier as PlainClassifier
from cait_mm.ops.compactor import add_backbone_compactors, start_from
from cait_mm.utils.schema import is_share, is_whole


@MODELS.register_module()
class Classifier(PlainClassifier, BaseModel):
    """:class:`cait_mm.models.classifier.Classifier` as MMEngine trains it.

    Args:
        backbone: Config of a registered backbone. Its ``init_cfg`` names a whole classifier's checkpoint (official,
            timm, or a compressed one): the head is loaded too.
        num_classes: Classes of the head.
        head_rows: Rows of the checkpoint's head that this one starts from, for a subset of its classes.
        new_head: Start the head from random weights: the checkpoint is of other classes.
        label_smoothing: Of the loss if labels are indices; mixup smooths its labels itself.
        distillation: ``dict(alpha=..., teacher=...)``, see
            :class:`~cait_mm.classification.distillation.HardDistillation`; the teacher is the dense model of the same
            checkpoint, or of the file that ``teacher`` names, or the config of another model. None trains on labels
            alone.
        cdcp: Channel pruning during training, see
            :class:`~cait_mm.classification.cdcp_settings.CDCPSettings`; needs ``CDCPHook``.
        data_preprocessor: See :class:`~cait_mm.classification.mixup.MixupPreprocessor`.

    Raises:
        UserError: The description is impossible.
    """

    parameters_of: ClassVar[str] = 'model.'

    def __init__(self,
                 backbone: Mapping[str, Any],
                 num_classes: int = 1000,
                 head_rows: Sequence[int] | None = None,
                 new_head: bool = False,
                 label_smoothing: float = 0.,
                 distillation: Mapping[str, Any] | None = None,
                 cdcp: Mapping[str, Any] | None = None,
                 data_preprocessor: Mapping[str, Any] | None = None) -> None:
        if head_rows is not None and len(head_rows) != num_classes:
            raise UserError(f'head_rows names {len(head_rows)} rows for num_classes={num_classes}.')
        if not is_whole(num_classes, 1) or not is_share(label_smoothing):
            raise UserError(f'the classifier has num_classes={num_classes!r} and label_smoothing={label_smoothing!r}: '
                            'the first is a positive whole number, the second from 0 to below 1.')
        kind = backbone.get('type')
        options = getattr(MODELS.get(kind) if isinstance(kind, str) else kind, 'classifier_options', {})
        super().__init__(MODELS.build({**backbone, **options}), num_classes,
                         data_preprocessor=dict(data_preprocessor) if data_preprocessor else None)
        self.head_rows, self.new_head = head_rows, new_head
        self.hard_loss, self.soft_loss = LabelSmoothingCrossEntropy(label_smoothing), SoftTargetCrossEntropy()
        self.distillation = self._build_distillation(distillation)
        self.cdcp = CDCPSettings.from_config(cdcp) if cdcp else None
        if self.cdcp:
            self._add_compactors()

    def _build_distillation(self, config: Mapping[str, Any] | None) -> HardDistillation | None:
        if not config or not config.get('alpha'):
            return None
        teacher = config.get('teacher')
        if not isinstance(teacher, Mapping):
            teacher = dense_teacher(self.backbone, self.num_classes, self.head_rows, teacher)
        return HardDistillation(**{**config, 'teacher': teacher}, num_classes=self.num_classes)

    def _add_compactors(self) -> None:
        if self.backbone.spec.is_pruned:
            raise UserError('model.cdcp prunes a backbone of full width and this one is pruned already: start from the '
                            'dense checkpoint, or fine-tune the pruned one with model.cdcp=None.')
        add_backbone_compactors(self.backbone)

    def forward(self, inputs: Tensor, targets: Tensor | None = None,
                mode: str = 'tensor') -> Tensor | dict[str, Tensor] | list[dict[str, Tensor]]:
        """Classify normalised images.

        Args:
            inputs: (B, 3, H, W).
            targets: Class indices (B,), or mixed labels (B, num_classes).
            mode: ``tensor`` returns logits (B, num_classes); ``loss`` a dict of losses; ``predict`` one dict per image
                with ``scores`` (num_classes,) and, if targets are given, ``target``.
        """
        logits = super().forward(inputs)
        if mode == 'tensor':
            return logits
        if mode == 'predict':
            results = [dict(scores=scores) for scores in logits.softmax(-1)]
            for index, item in enumerate(results if targets is not None else ()):
                item['target'] = targets[index]
            return results
        reducer = self.spec.tokens
        more = {} if reducer is None else reducer.losses(self.backbone.tokens)
        loss = self.soft_loss(logits, targets) if targets.dim() == 2 else self.hard_loss(logits, targets)
        if self.distillation is None:
            return dict(loss=loss, **more)
        alpha, taught = self.distillation.alpha, self.distillation(inputs, logits)
        return dict(loss_label=(1 - alpha) * loss, loss_teacher=alpha * taught, **more)

    def init_weights(self) -> None:
        """Load the backbone's ``init_cfg``, head included, strictly; without one keep the random weights."""
        init_cfg = self.backbone.init_cfg
        if self.distillation is not None:
            self.distillation.teacher()  # its errors should appear before the run starts
        if not init_cfg:
            self.backbone.init_weights()
            return
        report = self.load_pretrained(init_cfg['checkpoint'], init_cfg.get('prefix'))
        print_log(f'Classifier: {report}', logger='current')

    def load_pretrained(self, path: str, prefix: str | None = None) -> LoadReport:
        """Load backbone and head strictly from an official, timm or compressed checkpoint.

        Raises:
            UserError: The file is missing or damaged, or does not fit; every key that does not is listed.
        """
        return self.load_checkpoint(read_checkpoint(path, prefix), self.head_rows, self.new_head)

    def _load_from_state_dict(self, state_dict: dict[str, Tensor], prefix: str, *args: Any) -> None:
        """PyTorch's loading; a head of MMPretrain, in whose place MMEngine would leave a random one, is a UserError."""
        names = (f'{prefix}head.fc.', f'{prefix}head.layers.')
        foreign = next((key for key in state_dict if key.startswith(names)), None)
        if foreign is not None:
            raise UserError(f'{foreign} is the head of another project\'s classifier: name the checkpoint in the '
                            'backbone\'s init_cfg=dict(type=\'Pretrained\', checkpoint=FILE), which reads it.')
        super()._load_from_state_dict(state_dict, prefix, *args)

    def _load_backbone(self, checkpoint: Checkpoint) -> LoadReport:
        if not self.cdcp:
            return super()._load_backbone(checkpoint)
        plain = self._plain_backbone()
        report = plain.load_checkpoint(checkpoint)
        start_from(self.backbone, plain)
        return report

    def _plain_backbone(self) -> Backbone:
        """The same backbone without compactors."""
        plain = classifier_backbone(self.backbone.spec, img_size=self.backbone.img_size)
        return plain.to(next(self.backbone.parameters()))
