"""A canvas of filled polygons that keeps colour, class and object number of every pixel at once."""
from collections.abc import Sequence

import cv2
import numpy as np

CLASSES = ('sky', 'mountain', 'grass', 'water', 'road', 'tree', 'house', 'car', 'boat', 'balloon')
PALETTE = ((135, 190, 235), (140, 120, 150), (125, 200, 90), (40, 95, 200), (90, 90, 95), (20, 115, 55),
           (215, 95, 60), (245, 205, 40), (235, 235, 245), (200, 50, 160))
THING_CLASSES = CLASSES[5:]

Colour = Sequence[float]
OVERSAMPLING = 3
"""The canvas is larger by this odd factor: colours are averaged, and labels are taken at the centres of pixels."""


def mix(first: Colour, second: Colour, amount: float) -> np.ndarray:
    """``first`` at amount 0, ``second`` at 1."""
    return np.asarray(first, np.float32) * (1 - amount) + np.asarray(second, np.float32) * amount


def box(left: float, top: float, right: float, bottom: float) -> np.ndarray:
    return np.array([(left, top), (right, top), (right, bottom), (left, bottom)])


def ellipse(x: float, y: float, rx: float, ry: float, points: int = 28) -> np.ndarray:
    angle = np.linspace(0, 2 * np.pi, points, endpoint=False)
    return np.stack([x + rx * np.cos(angle), y + ry * np.sin(angle)], 1)


def between(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """The area between two edges, each ``(n, 2)`` and drawn in the same direction."""
    return np.concatenate([first, second[::-1]])


def noise(rng: np.random.Generator, shape: tuple[int, int], cells: tuple[float, float]) -> np.ndarray:
    """Smooth noise in [-1, 1] of ``shape``, with about ``cells`` bumps down and across."""
    small = rng.uniform(-1, 1, [max(2, round(count)) for count in cells]).astype(np.float32)
    return np.clip(cv2.resize(small, shape[::-1], interpolation=cv2.INTER_CUBIC), -1, 1)


class Canvas:
    """A picture of ``height x width`` pixels; coordinates are image heights, ``y`` downwards."""

    def __init__(self, height: int, width: int) -> None:
        self.size, self.scale = (height, width), height * OVERSAMPLING
        shape = (height * OVERSAMPLING, width * OVERSAMPLING)
        self.image = np.zeros((*shape, 3), np.float32)
        self.semantic, self.instance = np.zeros(shape, np.uint8), np.zeros(shape, np.int32)

    def fill(self, outline: np.ndarray, top: Colour, bottom: Colour | None = None, label: tuple[str, int] | None = None,
             opacity: float = 1.0) -> None:
        """Fill a polygon.

        Args:
            outline: ``(n, 2)`` of x and y.
            top, bottom: RGB in 0..1 at its upper and lower end.
            label: Class and object number (0: no object) of its pixels; None keeps the earlier labels.
        """
        corners = np.round(np.asarray(outline) * self.scale).astype(np.int32)
        x, y, width, height = cv2.boundingRect(corners)
        area = slice(max(y, 0), max(y + height, 0)), slice(max(x, 0), max(x + width, 0))
        image = self.image[area]
        if not image.size:
            return
        inside = np.zeros(image.shape[:2], np.uint8)
        cv2.fillPoly(inside, [corners - (area[1].start, area[0].start)], 1)
        inside = inside.astype(bool)
        down = (np.arange(image.shape[0], dtype=np.float32)[:, None] + area[0].start - y) / height
        colour = np.float32(top) + (np.float32(top if bottom is None else bottom) - np.float32(top)) * down
        image += (colour[:, None] - image) * (inside[..., None] * np.float32(opacity))
        if label is not None:
            self.semantic[area][inside], self.instance[area][inside] = CLASSES.index(label[0]), label[1]

    def labels(self) -> tuple[np.ndarray, np.ndarray]:
        """Class and object number of every pixel: ``(H, W)`` uint8 and int32."""
        centres = slice(OVERSAMPLING // 2, None, OVERSAMPLING)
        return self.semantic[centres, centres].copy(), self.instance[centres, centres].copy()

    def picture(self) -> np.ndarray:
        """``(H, W, 3)`` float32 RGB in 0..1."""
        return cv2.resize(self.image, self.size[::-1], interpolation=cv2.INTER_AREA)
