"""The registered backbones: the plain models of :mod:`cait_mm.models` for configs of OpenMMLab."""
from cait_mm.backbones.base import CAITBackbone, CAITDeiT, CAITLVViT, CAITSwin

BACKBONES = {backbone.family: backbone for backbone in (CAITDeiT, CAITLVViT, CAITSwin)}

__all__ = ['BACKBONES', 'CAITBackbone', 'CAITDeiT', 'CAITLVViT', 'CAITSwin']
