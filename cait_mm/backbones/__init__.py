"""The registered backbones: the plain models of :mod:`cait_mm.models` as OpenMMLab's configs name them."""
from cait_mm.backbones.base import CAITBackbone, CAITDeiT, CAITLVViT, CAITSwin, CAITViT

BACKBONES = {backbone.family: backbone for backbone in (CAITDeiT, CAITLVViT, CAITSwin, CAITViT)}

__all__ = ['BACKBONES', 'CAITBackbone', 'CAITDeiT', 'CAITLVViT', 'CAITSwin', 'CAITViT']
