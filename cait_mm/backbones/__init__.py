"""Registered backbones: stem + blocks + outputs, built from a spec; one file for each family."""
from typing import Any

from cait_mm.backbones.base import CAITBackbone
from cait_mm.backbones.deit import CAITDeiT
from cait_mm.backbones.lvvit import CAITLVViT
from cait_mm.backbones.swin import CAITSwin
from cait_mm.spec import Spec

BACKBONES = {backbone.family: backbone for backbone in (CAITDeiT, CAITLVViT, CAITSwin)}


def classifier_backbone(spec: Spec, **kwargs: Any) -> CAITBackbone:
    """The backbone of ``spec`` as a classifier has it: the last output alone, behind the final norm."""
    return BACKBONES[spec.arch.family](spec=spec, out_indices=(-1,), final_norm=True, **kwargs)


__all__ = ['BACKBONES', 'CAITBackbone', 'CAITDeiT', 'CAITLVViT', 'CAITSwin', 'classifier_backbone']
