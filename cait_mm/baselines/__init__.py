"""Rivals behind the same backbone, to be measured in the same table."""
from cait_mm.baselines.tome import ToMeDeiT

__all__ = ['ToMeDeiT']
