"""Mixup and CutMix where the batch is on its device."""
from typing import Any, Dict, Mapping, Optional

from mmengine.model import BaseDataPreprocessor
from mmengine.registry import MODELS
from timm.data import Mixup

from cait_mm.errors import UserError


@MODELS.register_module()
class MixupPreprocessor(BaseDataPreprocessor):
    """Move a batch to the device and, in training, mix it with timm's ``Mixup``.

    Args:
        mixup: Arguments of ``timm.data.Mixup`` (``mixup_alpha``, ``cutmix_alpha``, ``label_smoothing``,
            ``num_classes``, ...); None mixes nothing.
    """

    def __init__(self, mixup: Optional[Mapping[str, Any]] = None) -> None:
        super().__init__()
        self.mixup = Mixup(**mixup) if mixup else None

    def forward(self, data: Dict[str, Any], training: bool = False) -> Dict[str, Any]:
        """``dict(inputs=(B, 3, H, W), targets=(B,))``; mixed targets are (B, num_classes)."""
        data = self.cast_data(data)
        if not training or self.mixup is None:
            return data
        if len(data['inputs']) % 2:
            raise UserError(f'mixup needs an even batch, this one has {len(data["inputs"])} images: set '
                            'train_dataloader.batch_size even and train_dataloader.drop_last=True.')
        inputs, targets = self.mixup(data['inputs'], data['targets'])
        return dict(inputs=inputs, targets=targets)
