"""CAIT-MM: compressed Vision Transformers, in plain PyTorch and as backbones for MMSegmentation and MMDetection.

The models need torch and timm alone. Where OpenMMLab's packages can be imported, importing this one registers its
classes in MMEngine's root registries, where MMSeg and MMDet find them, and has MMEngine read checkpoints without
running what is in them. Nothing else happens.
"""
from importlib.util import find_spec

from cait_mm.api import backbone, compress, load, summary
from cait_mm.version import __version__

OPENMMLAB = ('mmengine', 'mmcv', 'mmseg', 'mmdet')


def _is_there(package: str) -> bool:
    try:
        return find_spec(package) is not None
    except ImportError:
        return False


if all(map(_is_there, OPENMMLAB)):
    from cait_mm import backbones, baselines, classification, datasets, engine, evaluation, necks  # noqa: F401
    engine.use_checked_loader()

__all__ = ['__version__', 'backbone', 'compress', 'load', 'summary']
