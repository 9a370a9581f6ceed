"""The drawing board of the embedded scenes: antialiased polygons that leave colour, class and instance at once.

Coordinates are image heights: ``y`` runs from 0 (top) to 1 (bottom), ``x`` from 0 to the aspect ratio.
"""
from collections.abc import Sequence

import cv2
import numpy as np

CLASSES = ('sky', 'mountain', 'grass', 'water', 'road', 'tree', 'house', 'car', 'boat', 'balloon')
PALETTE = ((135, 190, 235), (140, 120, 150), (125, 200, 90), (40, 95, 200), (90, 90, 95), (20, 115, 55),
           (215, 95, 60), (245, 205, 40), (235, 235, 245), (200, 50, 160))
THING_CLASSES = ('tree', 'house', 'car', 'boat', 'balloon')

SKY, MOUNTAIN, GRASS, WATER, ROAD, TREE, HOUSE, CAR, BOAT, BALLOON = range(len(CLASSES))

Colour = Sequence[float]

# Everything is drawn this much larger and averaged down: smooth edges, and one crisp label per pixel.
SUPERSAMPLE = 2
_FRACTION_BITS = 4


def mix(first: Colour, second: Colour, amount: float) -> np.ndarray:
    """Blend two RGB colours: ``first`` at amount 0, ``second`` at 1."""
    return np.asarray(first, np.float32) * (1 - amount) + np.asarray(second, np.float32) * amount


def smooth_noise(rng: np.random.Generator, shape: tuple[int, int], cells: tuple[float, float]) -> np.ndarray:
    """Smooth random field of ``shape`` (height, width) with about ``cells`` bumps down and across, in [-1, 1]."""
    grid = [max(2, int(round(count)) + 1) for count in cells]
    small = rng.uniform(-1, 1, grid).astype(np.float32)
    return np.clip(cv2.resize(small, (shape[1], shape[0]), interpolation=cv2.INTER_CUBIC), -1, 1)


def fractal_noise(rng: np.random.Generator, shape: tuple[int, int], cells: tuple[float, float],
                  octaves: int = 4) -> np.ndarray:
    """Sum of :func:`smooth_noise` octaves, each twice as fine and half as strong; roughly in [-1, 1]."""
    total = np.zeros(shape, np.float32)
    for octave in range(octaves):
        total += smooth_noise(rng, shape, (cells[0] * 2**octave, cells[1] * 2**octave)) * 0.5**octave
    return total


def ellipse(x: float, y: float, rx: float, ry: float, points: int = 36) -> np.ndarray:
    """Outline of an ellipse as ``(points, 2)``."""
    angle = np.linspace(0, 2 * np.pi, points, endpoint=False)
    return np.stack([x + rx * np.cos(angle), y + ry * np.sin(angle)], axis=1)


def box(left: float, top: float, right: float, bottom: float) -> np.ndarray:
    """Outline of an upright rectangle."""
    return np.array([(left, top), (right, top), (right, bottom), (left, bottom)])


class Canvas:
    """A picture with its semantic map and its instance map.

    Args:
        height, width: Size of the finished picture in pixels.
        rng: Source of the surface texture.
        paint: False fills the two label maps only, which is all that a visibility check needs.
    """

    def __init__(self, height: int, width: int, rng: np.random.Generator, paint: bool = True) -> None:
        self.height, self.width, self.paint = height, width, paint
        self.scale = height * SUPERSAMPLE
        self.shape = (height * SUPERSAMPLE, width * SUPERSAMPLE)
        self.aspect = width / height
        self.image = np.zeros((*self.shape, 3), np.float32)
        self.semantic = np.zeros(self.shape, np.uint8)
        self.instance = np.zeros(self.shape, np.int32)
        self.label: tuple[int, int] = (SKY, 0)
        self.texture = fractal_noise(rng, self.shape, (24, 24 * self.aspect), 3) if paint else None

    def fill(self, points: np.ndarray, colour: Colour, bottom: Colour | None = None, side: float = 0.0,
             texture: float = 0.0, opacity: float = 1.0, solid: bool = True) -> None:
        """Fill a polygon.

        Args:
            points: ``(n, 2)`` outline.
            colour: RGB in 0..1; of the top edge where ``bottom`` gives the bottom edge's.
            side: Brightness gained towards the right edge and lost towards the left one.
            texture: Strength of the surface noise.
            opacity: 0..1.
            solid: Whether the current :attr:`label` is stamped too; shadows, shine and gaps are not solid.
        """
        roi = self._roi(points)
        if roi is None or not (self.paint or solid):
            return
        x0, y0, x1, y1 = roi
        mask = np.zeros((y1 - y0, x1 - x0), np.uint8)
        shifted = (np.asarray(points) * self.scale - (x0, y0) - 0.5) * 2**_FRACTION_BITS
        cv2.fillPoly(mask, [np.round(shifted).astype(np.int32)], 255, cv2.LINE_AA, _FRACTION_BITS)
        area = (slice(y0, y1), slice(x0, x1))
        if solid:
            inside = mask > 127
            self.semantic[area][inside] = self.label[0]
            self.instance[area][inside] = self.label[1]
        if self.paint:
            field = self._shade(points, area, colour, bottom, side, texture)
            self.blend(area, field, mask[..., None] * np.float32(opacity / 255))

    def blend(self, area: tuple[slice, slice], colour: np.ndarray, alpha: np.ndarray) -> None:
        """Lay ``colour`` over the pixels of ``area`` (supersampled slices) with ``alpha`` in 0..1."""
        target = self.image[area]
        target += (colour - target) * alpha

    def shadow(self, x: float, y: float, rx: float, ry: float, strength: float = 0.35) -> None:
        """Darken a soft ellipse on the ground; labels stay."""
        for step in (1.0, 0.8, 0.6):
            self.fill(ellipse(x, y, rx * step, ry * step), (0.06, 0.08, 0.12), opacity=strength / 3, solid=False)

    def finish(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Average down to the final size: float32 image in 0..1, uint8 semantic map, int32 instance map."""
        image = cv2.resize(self.image, (self.width, self.height), interpolation=cv2.INTER_AREA)
        return image, self.semantic[::SUPERSAMPLE, ::SUPERSAMPLE], self.instance[::SUPERSAMPLE, ::SUPERSAMPLE]

    def _roi(self, points: np.ndarray) -> tuple[int, int, int, int] | None:
        low = np.floor(np.min(points, axis=0) * self.scale).astype(int) - 2
        high = np.ceil(np.max(points, axis=0) * self.scale).astype(int) + 3
        x0, y0 = max(low[0], 0), max(low[1], 0)
        x1, y1 = min(high[0], self.shape[1]), min(high[1], self.shape[0])
        return (x0, y0, x1, y1) if x0 < x1 and y0 < y1 else None

    def _shade(self, points: np.ndarray, area: tuple[slice, slice], colour: Colour, bottom: Colour | None,
               side: float, texture: float) -> np.ndarray:
        rows, columns = area
        low, high = np.min(points, axis=0) * self.scale, np.max(points, axis=0) * self.scale
        field = np.asarray(colour, np.float32).reshape(1, 1, 3)
        if bottom is not None:
            down = (np.arange(rows.start, rows.stop, dtype=np.float32) - low[1]) / max(high[1] - low[1], 1)
            field = field + (np.asarray(bottom, np.float32) - field) * np.clip(down, 0, 1)[:, None, None]
        gain = np.float32(1)
        if side:
            across = (np.arange(columns.start, columns.stop, dtype=np.float32) - low[0]) / max(high[0] - low[0], 1)
            gain = gain + np.float32(side) * (np.clip(across, 0, 1) * 2 - 1)[None, :, None]
        if texture:
            gain = gain + np.float32(texture) * self.texture[area][..., None]
        return field * gain
