"""Dice, IoU and HD95 by volume or by image, as medical segmentation reports them."""
import zlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import Any

import numpy as np
from mmengine.evaluator import BaseMetric
from mmengine.registry import METRICS
from scipy import ndimage

from cait_mm.errors import UserError

MEASURES = ('dice', 'iou', 'hd95')
_NAMES = {'dice': 'Dice', 'iou': 'IoU', 'hd95': 'HD95'}


def overlap(pred: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    """Dice and IoU of two boolean arrays of one shape, between 0 and 1 (by MedPy); 1 for two empty ones."""
    from medpy.metric import binary
    return (binary.dc(pred, truth), binary.jc(pred, truth)) if pred.any() or truth.any() else (1., 1.)


def hd95(pred: np.ndarray, truth: np.ndarray, spacing: Sequence[float] | None = None) -> float:
    """MedPy's HD95: the 95th percentile of the distances between two surfaces, in both directions together.

    Args:
        pred, truth: Boolean arrays of one shape, of any dimension.
        spacing: The side lengths of a pixel or voxel; None gives the distance in voxels.

    Returns:
        The distance; NaN if one of the two is empty, 0 if both are.
    """
    from medpy.metric import binary
    if not pred.any() or not truth.any():
        return 0. if pred.any() == truth.any() else float('nan')
    # distances depend only on the box around both; a margin leaves their borders as they are
    box = ndimage.find_objects((pred | truth).astype(np.uint8))[0]
    box = tuple(slice(max(axis.start - 1, 0), axis.stop + 1) for axis in box)
    return float(binary.hd95(pred[box], truth[box], spacing))


@METRICS.register_module()
class VolumeDice(BaseMetric):
    """Measures by foreground class and volume, averaged over volumes and then over classes (as TransUNet and CASCADE).

    Every process keeps the labels of its slices with volume and slice number. They are assembled at the end, so the
    slices of a volume may be in several batches and processes. ``mDice``, ``mIoU`` (in percent) and ``mHD95`` average
    over classes; ``Dice.NAME`` and its like are the values of a class. Class 0 is background and is not counted.

    If a class is in neither prediction nor truth of a volume, they agree (Dice 100, HD95 0). If it is in only one of
    them, its Dice is 0, and HD95 leaves the volume out because there is no distance. ``empty='transunet'`` counts like
    the code of TransUNet and CASCADE, for comparisons with their tables: a prediction without truth has Dice 100, every
    other empty side Dice 0, and the distance is 0 in all these cases.

    Args:
        measures: Some of ``dice``, ``iou``, ``hd95``.
        spacing: The side lengths (slice distance, y, x) of a voxel for HD95; None counts in voxels, as TransUNet does.
        ignore_index: The label of pixels that are not counted.
        empty: ``'strict'`` or ``'transunet'``.
        **keywords: As :class:`mmengine.evaluator.BaseMetric`.

    Raises:
        UserError: MedPy is not installed; a measure or ``empty`` is unknown; a slice does not say its volume; slices of
            one volume differ in shape.
    """
    unit = 'volumes'

    def __init__(self,
                 measures: Sequence[str] = ('dice', 'hd95'),
                 spacing: Sequence[float] | None = None,
                 ignore_index: int = 255,
                 empty: str = 'strict',
                 **keywords: Any) -> None:
        super().__init__(**keywords)
        if find_spec('medpy') is None:
            raise UserError(f'{type(self).__name__} needs MedPy, which is not installed: pip install medpy.')
        wrong = [measure for measure in measures if measure not in MEASURES]
        if wrong or empty not in ('strict', 'transunet'):
            raise UserError(f'{type(self).__name__} measures={tuple(measures)}, empty={empty!r}: measures are '
                            f'{", ".join(MEASURES)}, and empty is strict or transunet.')
        self.measures, self.spacing, self.ignore_index, self.empty = tuple(measures), spacing, ignore_index, empty

    def place(self, sample: Mapping[str, Any]) -> tuple[str, int]:
        """The volume of a predicted slice, and its number there."""
        try:
            return sample['volume'], int(sample['slice'])
        except KeyError as error:
            raise UserError(f'a prediction does not say its {error.args[0]}, which VolumeDice puts together by: give '
                            "PackSegInputs meta_keys with 'volume' and 'slice', or use ImageDice.") from error

    def predicted(self, sample: Mapping[str, Any]) -> np.ndarray:
        """The labels (H, W) that a sample predicts."""
        return _array(sample, 'pred_sem_seg').astype(np.uint8)

    def process(self, data_batch: Any, data_samples: Sequence[Mapping[str, Any]]) -> None:
        """Keep the labels of some slices, compressed because they are mostly background."""
        for sample in data_samples:
            pred, truth = self.predicted(sample), _array(sample, 'gt_sem_seg').astype(np.uint8)
            volume, number = self.place(sample)
            self.results.append((volume, number, truth.shape, zlib.compress(np.stack([pred, truth]).tobytes(), 1)))

    def compute_metrics(self, results: list[tuple[str, int, tuple[int, ...], bytes]]) -> dict[str, float]:
        """Assemble the volumes and average."""
        volumes: dict[str, dict[int, tuple[tuple[int, ...], bytes]]] = defaultdict(dict)
        for volume, number, shape, labels in results:
            volumes[volume][number] = shape, labels
        classes = self.dataset_meta['classes'][1:]
        values = np.array([self._measure(*_stacked(name, slices), len(classes)) for name, slices in volumes.items()])
        scores: dict[str, float] = {}
        for index, measure in enumerate(self.measures):
            by_class = [_mean(column) for column in values[:, :, index].T]
            scores[f'm{_NAMES[measure]}'] = _mean(by_class)
            if len(classes) > 1:
                scores.update({f'{_NAMES[measure]}.{name}': value for name, value in zip(classes, by_class)})
        scores[self.unit] = float(len(volumes))
        return scores

    def overlap(self, pred: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
        """Dice and IoU of one class, between 0 and 1."""
        return overlap(pred, truth)

    def _measure(self, pred: np.ndarray, truth: np.ndarray, classes: int) -> list[list[float]]:
        """Every measure of every class of one volume."""
        known = truth != self.ignore_index
        return [self._of_class((pred == label) & known, truth == label) for label in range(1, classes + 1)]

    def _of_class(self, pred: np.ndarray, truth: np.ndarray) -> list[float]:
        if self.empty == 'transunet' and not (pred.any() and truth.any()):
            agree = 100. if pred.any() else 0.
            return [0. if measure == 'hd95' else agree for measure in self.measures]
        dice, iou = self.overlap(pred, truth)
        values = {'dice': 100 * dice, 'iou': 100 * iou}
        if 'hd95' in self.measures:
            values['hd95'] = hd95(pred, truth, self.spacing)
        return [values[measure] for measure in self.measures]


@METRICS.register_module()
class ImageDice(VolumeDice):
    """Measures by image, averaged over the images, as usual for polyps.

    ``protocol='cascade'`` scores like CASCADE's test_polyp.py, for comparisons with its tables: the probabilities of an
    image are stretched to 0..1 before the threshold of 0.5, so every image gets a polyp, and the fractions are
    ``(2 |A and B| + 1) / (|A| + |B| + 1)`` and ``(|A and B| + 1) / (|A or B| + 1)``. (Its code also rounds the score of
    every image to four digits.)

    Args:
        measures: As :class:`VolumeDice`.
        protocol: ``plain``, or ``cascade``, for one output channel.
        **keywords: As :class:`VolumeDice`.

    Raises:
        UserError: The protocol is unknown, or is ``cascade`` with HD95 or with a head of several channels.
    """
    unit = 'images'

    def __init__(self, measures: Sequence[str] = ('dice', 'iou'), protocol: str = 'plain', **keywords: Any) -> None:
        super().__init__(measures=measures, **keywords)
        if protocol not in ('plain', 'cascade') or (protocol == 'cascade' and 'hd95' in self.measures):
            raise UserError(f'ImageDice protocol={protocol!r}, measures={self.measures}: use plain, or cascade with '
                            'dice and iou alone.')
        self.protocol = protocol

    def predicted(self, sample: Mapping[str, Any]) -> np.ndarray:
        """The labels (H, W) that a sample predicts, in CASCADE's protocol from stretched probabilities."""
        if self.protocol == 'plain':
            return super().predicted(sample)
        chance = _array(sample, 'seg_logits')  # after MMSeg's sigmoid
        if chance.ndim != 2:
            raise UserError('ImageDice protocol=cascade stretches the probabilities of one channel, and the head has '
                            f'{len(chance)}: set decode_head.out_channels=1, or protocol=plain.')
        low, high = chance.min(), chance.max()
        return ((chance - low) / (high - low + 1e-8) >= 0.5).astype(np.uint8)

    def overlap(self, pred: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
        """Dice and IoU of the polyp, between 0 and 1, in CASCADE's protocol smoothed."""
        if self.protocol == 'plain':
            return super().overlap(pred, truth)
        both, total = np.count_nonzero(pred & truth), np.count_nonzero(pred) + np.count_nonzero(truth)
        return (2 * both + 1) / (total + 1), (both + 1) / (total - both + 1)

    def place(self, sample: Mapping[str, Any]) -> tuple[str, int]:
        """The image as a volume of one slice."""
        return sample['img_path'], 0


def _array(sample: Mapping[str, Any], key: str) -> np.ndarray:
    return sample[key]['data'].squeeze(0).cpu().numpy()


def _stacked(name: str, slices: Mapping[int, tuple[tuple[int, ...], bytes]]) -> tuple[np.ndarray, np.ndarray]:
    """Prediction and truth (slices, H, W) of a volume, or (H, W) of a single image."""
    shapes = {shape for shape, _ in slices.values()}
    if len(shapes) > 1:
        raise UserError(f'the slices of volume {name} differ in shape: {sorted(shapes)}.')
    shape = shapes.pop()
    labels = [np.frombuffer(zlib.decompress(slices[number][1]), np.uint8).reshape(2, *shape)
              for number in sorted(slices)]
    pred, truth = np.stack(labels, 1)
    return (pred, truth) if len(labels) > 1 else (pred[0], truth[0])


def _mean(values: Sequence[float]) -> float:
    """The mean of the values that are not NaN; NaN if there are none."""
    known = [value for value in values if not np.isnan(value)]
    return float(np.mean(known)) if known else float('nan')
