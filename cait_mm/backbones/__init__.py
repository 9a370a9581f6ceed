"""Registered backbones: stem + blocks + outputs, built from a spec."""
from cait_mm.backbones.deit import CAITDeiT

__all__ = ['CAITDeiT']
