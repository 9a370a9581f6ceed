"""Data: image folders, the embedded scenes, and what MMSegmentation and MMDetection lack."""
from cait_mm.datasets.images import ImageFolder
from cait_mm.datasets.samplers import RepeatAugSampler

__all__ = ['ImageFolder', 'RepeatAugSampler']
