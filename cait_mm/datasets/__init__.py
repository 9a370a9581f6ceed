"""Data: image folders, the embedded scenes, and data sets that MMSegmentation and MMDetection lack.

Importing it makes MMEngine know ``slice://``, ``picture://`` and ``mask://``, read text with a byte-order mark, and
unpickle no file.
"""
from cait_mm.datasets.images import ImageFolder
from cait_mm.datasets.pictures import PictureBackend
from cait_mm.datasets.samplers import RepeatAugSampler
from cait_mm.datasets.slices import SliceBackend
from cait_mm.datasets.subjects import SubjectSplitHook
from cait_mm.datasets.texts import TextBackend
from cait_mm.datasets.unlabelled import UnlabelledImages

__all__ = ['ImageFolder', 'PictureBackend', 'RepeatAugSampler', 'SliceBackend', 'SubjectSplitHook', 'TextBackend',
           'UnlabelledImages']
