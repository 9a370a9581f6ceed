"""Other methods behind the same backbone interface, for comparison."""
from cait_mm.baselines.tome import ToMeDeiT

__all__ = ['ToMeDeiT']
