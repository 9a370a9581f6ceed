"""Test-time augmentation: the predictions on flipped and resized pictures are merged."""
from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any

from mmengine.config import Config

from cait_mm.datasets.check_files import datasets_of
from cait_mm.errors import UserError

SEG_RATIOS = (0.5, 0.75, 1.0, 1.25, 1.5, 1.75)
"""The sizes of MMSegmentation; MMDetection only flips."""
SEGMENTOR = dict(type='cait_mm.evaluation.segmentor_tta.SegmentorTTAModel')
DETECTOR = dict(
    type='cait_mm.evaluation.instance_tta.InstanceTTAModel',
    tta_cfg=dict(nms=dict(type='nms', iou_threshold=0.5), max_per_img=100))
FLIPS = [dict(type='RandomFlip', prob=0.), dict(type='RandomFlip', prob=1.)]


def use_tta(config: Config, ratios: Sequence[float] | None = None) -> None:
    """Make a test merge the predictions on flipped and resized pictures.

    The config's ``tta_model`` and ``tta_pipeline`` are used if it has them. Otherwise pictures are taken at the size of
    the test pipeline times each of ``ratios`` (default: MMSegmentation's six for segmentors, 1 for detectors), both
    unflipped and flipped.

    Raises:
        UserError: The config is not for a segmentor or detector, or its pipeline cannot be changed.
    """
    scope = config.get('default_scope')
    if scope not in ('mmseg', 'mmdet'):
        raise UserError('--tta is for segmentors and detectors: leave it out.')
    detects = scope == 'mmdet'
    if 'tta_model' not in config:
        config.tta_model = DETECTOR if detects else SEGMENTOR
    for dataset in datasets_of(config.test_dataloader.dataset):
        if 'pipeline' in dataset:
            dataset['pipeline'] = config.get('tta_pipeline') or augmented(
                dataset['pipeline'], ratios or ((1.0, ) if detects else SEG_RATIOS))
    config.model = {**config.tta_model, 'module': config.model}


def augmented(pipeline: Sequence[Mapping[str, Any]], ratios: Sequence[float]) -> list[dict[str, Any]]:
    """A test pipeline that gives every picture at ``ratios`` of its size, both unflipped and flipped.

    Raises:
        UserError: A ratio is not positive, or the pipeline does not end with packing.
    """
    if min(ratios) <= 0:
        raise UserError(f'--tta wants sizes above 0, not {min(ratios):g}.')
    steps = [deepcopy(dict(step)) for step in pipeline]
    if not steps or not str(steps[-1].get('type')).startswith('Pack'):
        raise UserError('--tta knows test pipelines that end with PackSegInputs or PackDetInputs: give the config a '
                        'tta_pipeline.')
    resize = next((step for step in steps if step['type'] == 'Resize'), None)
    before = steps.index(resize) if resize else 1
    sizes = [_resized(resize, ratio) for ratio in ratios]
    if 'meta_keys' in steps[-1]:
        steps[-1]['meta_keys'] = tuple(dict.fromkeys((*steps[-1]['meta_keys'], 'flip', 'flip_direction')))
    rest = [[step] for step in steps[before + (resize is not None):]]
    return [*steps[:before], dict(type='TestTimeAug', transforms=[sizes, deepcopy(FLIPS), *rest])]


def _resized(resize: Mapping[str, Any] | None, ratio: float) -> dict[str, Any]:
    if resize is None:
        return dict(type='Resize', scale_factor=ratio, keep_ratio=True)
    if 'scale' not in resize:
        raise UserError('--tta knows Resize with a scale: give the config a tta_pipeline.')
    return {**resize, 'scale': tuple(int(side * ratio + 0.5) for side in resize['scale'])}
