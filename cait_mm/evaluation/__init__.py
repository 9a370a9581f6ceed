"""Registered metrics."""
from cait_mm.evaluation.volume_dice import ImageDice, VolumeDice

__all__ = ['ImageDice', 'VolumeDice']
