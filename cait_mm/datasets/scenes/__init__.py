"""The embedded default data: drawn landscapes for segmentation, detection and classification.

``plan`` decides what stands where, ``backdrop`` and ``things`` draw it on a ``canvas``, ``layouts`` writes the set.
"""
from cait_mm.datasets.scenes.canvas import CLASSES, PALETTE, THING_CLASSES
from cait_mm.datasets.scenes.layouts import Scene, draw_scene, make_scenes, preview
from cait_mm.datasets.scenes.plan import SCENE_KINDS

__all__ = ['CLASSES', 'PALETTE', 'SCENE_KINDS', 'THING_CLASSES', 'Scene', 'draw_scene', 'make_scenes', 'preview']
