"""The embedded default data: drawn landscapes for segmentation, detection and classification.

``composition`` decides where things stand, ``drawing`` and ``things`` draw them on a ``canvas``, and ``layouts`` writes
the set.
"""
from cait_mm.datasets.scenes.canvas import CLASSES, PALETTE, THING_CLASSES
from cait_mm.datasets.scenes.composition import SCENE_KINDS
from cait_mm.datasets.scenes.drawing import Scene, draw_scene
from cait_mm.datasets.scenes.layouts import make_scenes

__all__ = ['CLASSES', 'PALETTE', 'SCENE_KINDS', 'THING_CLASSES', 'Scene', 'draw_scene', 'make_scenes']
