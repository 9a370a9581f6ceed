"""The backbones that configs name: the plain models of :mod:`cait_mm.models` with MMEngine's ``init_cfg``."""
from collections.abc import Mapping, Sequence
from typing import Any

from mmengine.logging import print_log
from mmengine.registry import MODELS

from cait_mm.backbones.arrival import ArrivesWhole
from cait_mm.backbones.init_cfg import checked_init_cfg, read_pretrained, spec_of_pretrained
from cait_mm.models.deit import DeiT
from cait_mm.models.lvvit import LVViT
from cait_mm.models.swin import Swin
from cait_mm.models.vit import ViT
from cait_mm.spec import Spec


class CAITBackbone(ArrivesWhole):
    """A ViT of :mod:`cait_mm.models` as OpenMMLab builds it.

    When ``init_cfg`` names a compressed checkpoint, its spec decides the widths and whether merges are weighted, and a
    config need not repeat them.

    Args:
        init_cfg: ``dict(type='Pretrained', checkpoint=...)`` loads strictly; ``prefix`` is that of
            the backbone's keys, if it is not the usual one. None starts from random weights.
        args, kwargs: Arguments of the plain model. ``in_channels=None`` also takes the value of the compressed
            checkpoint in ``init_cfg``.

    Raises:
        UserError: The description is impossible, or contradicts the checkpoint's spec.
    """

    def __init__(self, *args: Any, init_cfg: None | Mapping[str, Any] | Sequence[Mapping[str, Any]] = None,
                 **kwargs: Any) -> None:
        # MMEngine's own attribute is reset while the modules are built.
        self._pretrained = checked_init_cfg(init_cfg, type(self).__name__)
        super().__init__(*args, **kwargs)
        self.init_cfg = self._pretrained

    def _final_spec(self, spec: Spec, channels_stated: bool) -> Spec:
        return spec_of_pretrained(self._pretrained, spec, channels_stated)

    def init_weights(self) -> None:
        """Load the checkpoint of ``init_cfg`` strictly and log the result; without one keep the random weights."""
        if not self.init_cfg:
            self._is_init = True
            return
        report = self.load_checkpoint(read_pretrained(self.init_cfg, type(self).__name__))
        print_log(f'{type(self).__name__}: {report}', logger='current')


@MODELS.register_module()
class CAITDeiT(CAITBackbone, DeiT):
    """:class:`~cait_mm.models.deit.DeiT`, with its arguments and :class:`CAITBackbone`'s ``init_cfg``."""


@MODELS.register_module()
class CAITLVViT(CAITDeiT, LVViT):
    """:class:`~cait_mm.models.lvvit.LVViT`, with its arguments and :class:`CAITBackbone`'s ``init_cfg``."""


@MODELS.register_module()
class CAITSwin(CAITBackbone, Swin):
    """:class:`~cait_mm.models.swin.Swin`, with its arguments and :class:`CAITBackbone`'s ``init_cfg``."""


@MODELS.register_module()
class CAITViT(CAITDeiT, ViT):
    """:class:`~cait_mm.models.vit.ViT`, with its arguments and :class:`CAITBackbone`'s ``init_cfg``."""
