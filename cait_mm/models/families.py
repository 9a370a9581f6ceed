"""The model class of every family."""
from typing import Any

from cait_mm.models.base import Backbone
from cait_mm.models.deit import DeiT
from cait_mm.models.lvvit import LVViT
from cait_mm.models.swin import Swin
from cait_mm.spec import Spec

FAMILIES: dict[str, type[Backbone]] = {model.family: model for model in (DeiT, LVViT, Swin)}


def classifier_backbone(spec: Spec, **kwargs: Any) -> Backbone:
    """The backbone of ``spec`` for a classifier: only the last output, after the final norm."""
    return FAMILIES[spec.arch.family](spec=spec, out_indices=(-1,), final_norm=True, **kwargs)
