"""The model class of every family."""
from typing import Any

from cait_mm.models.base import Backbone
from cait_mm.models.deit import DeiT
from cait_mm.models.lvvit import LVViT
from cait_mm.models.swin import Swin
from cait_mm.models.vit import ViT
from cait_mm.spec import Spec

FAMILIES: dict[str, type[Backbone]] = {model.family: model for model in (DeiT, LVViT, Swin, ViT)}


def classifier_backbone(spec: Spec, **kwargs: Any) -> Backbone:
    """The backbone of ``spec`` as a classifier has it: the last output alone, behind the final norm."""
    model = FAMILIES[spec.arch.family]
    return model(spec=spec, **{**model.classifier_options, **kwargs})
