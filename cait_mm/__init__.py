"""CAIT-MM: compressed Vision Transformers as backbones for MMSegmentation and MMDetection.

Importing the package registers its classes in MMEngine's root registries, where MMSeg and MMDet find them, and allows
``torch.load`` to read MMEngine's checkpoints. Nothing else happens.
"""
from cait_mm import backbones, baselines, classification, datasets, engine, evaluation, necks
from cait_mm.version import __version__

engine.allow_mmengine_checkpoints()

__all__ = ['__version__', 'backbones', 'baselines', 'classification', 'datasets', 'engine', 'evaluation', 'necks']
