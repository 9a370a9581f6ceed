"""CAIT-MM: compressed Vision Transformers as backbones for MMSegmentation and MMDetection.

Importing the package registers its classes in MMEngine's root registries, where MMSeg and MMDet find them, allows
``torch.load`` to read MMEngine's checkpoints, and has MMEngine read checkpoints without running what is in them.
Nothing else happens.
"""
from cait_mm import backbones, baselines, classification, datasets, engine, evaluation, necks
from cait_mm.version import __version__

engine.allow_mmengine_checkpoints()
engine.use_checked_loader()

__all__ = ['__version__', 'backbones', 'baselines', 'classification', 'datasets', 'engine', 'evaluation', 'necks']
