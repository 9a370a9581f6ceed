"""Data: image folders, the embedded scenes, and data sets that MMSegmentation and MMDetection lack.

Once this package is imported, MMEngine understands ``slice://``, ``picture://`` and ``mask://``, reads text with a
byte-order mark, and refuses pickles.
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
