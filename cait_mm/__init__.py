"""CAIT-MM: compressed Vision Transformers, in plain PyTorch and as backbones for MMSegmentation and MMDetection.

The models need torch and timm alone. Where OpenMMLab's packages can be imported, importing this one registers its
classes in MMEngine's root registries, where MMSeg and MMDet find them, and has MMEngine read checkpoints without
running any code in them. Nothing else happens.
"""
import logging
import sys
from importlib.util import find_spec

from cait_mm.api import CDCP, backbone, compress, latency_table, load, summary, tune
from cait_mm.version import __version__

_OPENMMLAB = ('mmengine', 'mmcv', 'mmseg', 'mmdet')


def _is_there(package: str) -> bool:
    try:
        return find_spec(package) is not None
    except (ImportError, ValueError):  # it is kept away, or is no package
        return False


_MISSING = [package for package in _OPENMMLAB if not _is_there(package)]
if not _MISSING:
    from cait_mm import backbones, classification, datasets, engine, evaluation, necks  # noqa: F401
    engine.use_checked_loader()
elif 'mmengine' in sys.modules:  # a config's custom_imports lead here
    logging.getLogger('cait_mm').warning('cait_mm registers nothing in MMEngine: %s cannot be imported.',
                                         ', '.join(_MISSING))

__all__ = ['CDCP', '__version__', 'backbone', 'compress', 'latency_table', 'load', 'summary', 'tune']
