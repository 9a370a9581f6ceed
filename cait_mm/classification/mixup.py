"""Mixup and CutMix on the device of the batch."""
from collections.abc import Mapping
from typing import Any

from mmengine.model import BaseDataPreprocessor
from mmengine.registry import MODELS
from timm.data import Mixup

from cait_mm.errors import UserError, reason_of
from cait_mm.utils.schema import is_number, is_share, is_whole

ODD = ('mixup needs even batches, and train_dataloader gives some of {}: set train_dataloader.batch_size even and '
       'train_dataloader.drop_last=True.')
_KINDS = {
    'mixup_alpha': (lambda value: is_number(value, 0), 'a number, 0 or more'),
    'cutmix_alpha': (lambda value: is_number(value, 0), 'a number, 0 or more'),
    'prob': (lambda value: is_number(value, 0, 1), 'a number from 0 to 1'),
    'switch_prob': (lambda value: is_number(value, 0, 1), 'a number from 0 to 1'),
    'label_smoothing': (is_share, 'a number from 0 to below 1'),
    'num_classes': (lambda value: is_whole(value, 1), 'a positive whole number'),
}


@MODELS.register_module()
class MixupPreprocessor(BaseDataPreprocessor):
    """Move a batch to the device and, in training, mix it with timm's ``Mixup``.

    Args:
        mixup: Arguments of ``timm.data.Mixup`` (``mixup_alpha``, ``cutmix_alpha``, ``label_smoothing``,
            ``num_classes``, ...); None mixes nothing.

    Raises:
        UserError: An argument is unknown or impossible.
    """

    def __init__(self, mixup: Mapping[str, Any] | None = None) -> None:
        super().__init__()
        self.mixup = _mixup(mixup) if mixup else None

    def forward(self, data: dict[str, Any], training: bool = False) -> dict[str, Any]:
        """``dict(inputs=(B, 3, H, W), targets=(B,))``; mixed targets are (B, num_classes)."""
        data = self.cast_data(data)
        if not training or self.mixup is None:
            return data
        if len(data['inputs']) % 2:
            raise UserError(ODD.format(len(data['inputs'])))
        inputs, targets = self.mixup(data['inputs'], data['targets'])
        return dict(inputs=inputs, targets=targets)


def _mixup(config: Mapping[str, Any]) -> Mixup:
    for name, (test, what) in _KINDS.items():
        if name in config and not test(config[name]):
            raise UserError(f'data_preprocessor.mixup.{name}={config[name]!r}: it has to be {what}.')
    if not config.get('mixup_alpha', 1) and not config.get('cutmix_alpha') and not config.get('cutmix_minmax'):
        raise UserError('data_preprocessor.mixup has mixup_alpha and cutmix_alpha of 0, so it could mix nothing: make '
                        'one positive, or set model.data_preprocessor.mixup=None.')
    try:
        return Mixup(**config)
    except (AssertionError, TypeError, ValueError) as error:
        raise UserError(f'data_preprocessor.mixup cannot be used: {reason_of(error)}.') from error
