"""The countable objects of the embedded scenes: tree, house, car, boat, balloon.

Every function draws one object standing at ``(x, y)``, the middle of its foot, ``size`` image heights tall (cars and
boats: long), and takes its own random generator, so one object's looks never depend on another's.
"""
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from cait_mm.datasets.scenes.canvas import BALLOON, BOAT, CAR, HOUSE, TREE, Canvas, Colour, box, ellipse, mix

LEAVES = {
    'summer': ((0.20, 0.42, 0.16), (0.28, 0.50, 0.18), (0.16, 0.36, 0.20), (0.36, 0.52, 0.20)),
    'autumn': ((0.78, 0.45, 0.12), (0.70, 0.28, 0.12), (0.82, 0.62, 0.18), (0.42, 0.46, 0.18)),
    'winter': ((0.62, 0.68, 0.72), (0.50, 0.58, 0.58), (0.72, 0.76, 0.80)),
}
WALLS = ((0.93, 0.88, 0.78), (0.88, 0.74, 0.58), (0.95, 0.94, 0.92), (0.80, 0.52, 0.42), (0.72, 0.78, 0.82),
         (0.93, 0.82, 0.52), (0.62, 0.44, 0.32))
ROOFS = ((0.70, 0.28, 0.20), (0.58, 0.24, 0.18), (0.40, 0.32, 0.30), (0.34, 0.38, 0.44), (0.80, 0.42, 0.24))
PAINTS = ((0.82, 0.14, 0.14), (0.14, 0.34, 0.72), (0.94, 0.94, 0.94), (0.95, 0.72, 0.12), (0.20, 0.22, 0.26),
          (0.16, 0.55, 0.42), (0.62, 0.66, 0.70), (0.88, 0.44, 0.12))
CLOTHS = ((0.88, 0.18, 0.20), (0.97, 0.80, 0.18), (0.18, 0.42, 0.80), (0.96, 0.95, 0.92), (0.52, 0.22, 0.62),
          (0.10, 0.62, 0.60), (0.96, 0.50, 0.14), (0.30, 0.66, 0.28))
GLASS = (0.32, 0.44, 0.54)
LAMP = (1.0, 0.86, 0.48)


@dataclass(frozen=True)
class Mood:
    """What all objects of one scene share.

    Attributes:
        season: ``'summer'``, ``'autumn'`` or ``'winter'``.
        sun: -1.0 with the sun at the left to 1.0 with the sun at the right.
        lamps: Whether windows are lit.
        haze: RGB that distant things fade to.
    """
    season: str
    sun: float
    lamps: bool
    haze: Colour


@dataclass(frozen=True)
class Thing:
    """One object to draw.

    Attributes:
        kind: A key of :data:`DRAW`.
        x, y: Middle of its foot, in image heights.
        size: Height (car, boat: length) in image heights.
        depth: 0 at the horizon to 1 at the viewer; decides haze and, with ``layer``, the painter's order.
        layer: Things of a lower layer are painted first.
        seed: Of its own random generator.
    """
    kind: str
    x: float
    y: float
    size: float
    depth: float
    layer: int
    seed: int


def pick(rng: np.random.Generator, colours: tuple, spread: float = 0.05) -> np.ndarray:
    """One of ``colours`` with its brightness and its hue jittered."""
    colour = np.array(colours[rng.integers(len(colours))]) * rng.uniform(0.88, 1.1)
    return np.clip(colour + rng.uniform(-spread, spread, 3), 0.02, 1)


def draw_thing(canvas: Canvas, thing: Thing, number: int, mood: Mood) -> None:
    """Draw ``thing`` as instance ``number`` (counted from 1)."""
    class_id, draw = DRAW[thing.kind]
    canvas.label = (class_id, number)
    rng = np.random.default_rng(thing.seed)
    fade = 0.45 * (1 - thing.depth)**1.5
    draw(_Brush(canvas, thing, mood.haze, fade), rng, thing.size, mood)


class _Brush:
    """A canvas seen from the foot of one object: local coordinates, ``y`` upwards, colours fading into the haze."""

    def __init__(self, canvas: Canvas, thing: Thing, haze: Colour, fade: float) -> None:
        self.canvas, self.x, self.y, self.haze, self.fade = canvas, thing.x, thing.y, haze, fade

    def fill(self, points: np.ndarray, colour: Colour, bottom: Colour = None, **keywords) -> None:
        points = np.asarray(points, np.float64) * (1, -1) + (self.x, self.y)
        if bottom is not None:
            bottom = mix(bottom, self.haze, self.fade)
        self.canvas.fill(points, mix(colour, self.haze, self.fade), bottom, **keywords)

    def shadow(self, x: float, rx: float, ry: float) -> None:
        self.canvas.shadow(self.x + x, self.y, rx, ry, 0.4 * (1 - self.fade))


def broadleaf(brush: _Brush, rng: np.random.Generator, size: float, mood: Mood) -> None:
    """A trunk under a crown of overlapping blobs, lighter towards the sun."""
    leaf = pick(rng, LEAVES[mood.season])
    width, bare = size * rng.uniform(0.30, 0.42), size * rng.uniform(0.22, 0.36)
    brush.shadow(-mood.sun * width * 0.5, width, size * 0.05)
    trunk = size * 0.035
    bark = pick(rng, ((0.36, 0.26, 0.18), (0.44, 0.34, 0.26)))
    brush.fill([(-trunk * 1.5, 0), (trunk * 1.5, 0), (trunk, size * 0.6), (-trunk, size * 0.6)], bark,
               side=0.2 * mood.sun)
    middle = (bare + size) / 2
    reach = (size - bare) / 2
    blobs = [(0.0, 0.0, 0.72)]
    for angle in np.arange(8) * np.pi / 4 + rng.uniform(0, 1):
        blobs.append((0.62 * np.cos(angle), 0.58 * np.sin(angle), rng.uniform(0.34, 0.5)))
    for layer, (gain, shift) in enumerate(((0.72, 0.0), (1.0, 0.10), (1.22, 0.24))):
        for bx, by, radius in blobs:
            radius *= (1.0, 0.86, 0.5)[layer]
            centre = (bx + shift * mood.sun) * width, middle + (by + shift) * reach
            brush.fill(ellipse(*centre, radius * width, radius * reach, 24), np.minimum(leaf * gain, 1),
                       leaf * gain * 0.86, texture=0.16, solid=layer == 0, opacity=(1, 0.9, 0.55)[layer])


def conifer(brush: _Brush, rng: np.random.Generator, size: float, mood: Mood) -> None:
    """Stacked skirts of needles, snowy in winter."""
    needle = pick(rng, ((0.10, 0.30, 0.20), (0.14, 0.36, 0.22), (0.12, 0.28, 0.26)), 0.03)
    width = size * rng.uniform(0.22, 0.30)
    brush.shadow(-mood.sun * width * 0.5, width, size * 0.04)
    brush.fill(box(-size * 0.03, 0, size * 0.03, size * 0.2), pick(rng, ((0.34, 0.24, 0.17),)))
    tiers = int(rng.integers(3, 6))
    for tier in range(tiers):
        low = size * (0.12 + 0.80 * tier / tiers)
        high = min(size, low + size * 1.25 / tiers)
        half = width * (1 - tier / (tiers + 0.4))
        sag = size * 0.03
        skirt = [(-half, low), (-half * 0.5, low - sag), (0, low), (half * 0.5, low - sag), (half, low), (0, high)]
        brush.fill(skirt, needle * 1.25, needle * 0.8, side=0.28 * mood.sun, texture=0.12)
        if mood.season == 'winter':
            cap = [(-half * 0.72, low + (high - low) * 0.28), (-half * 0.3, low + (high - low) * 0.42),
                   (half * 0.1, low + (high - low) * 0.24), (half * 0.62, low + (high - low) * 0.38), (0, high)]
            brush.fill(cap, (0.95, 0.97, 1.0), (0.82, 0.87, 0.94), opacity=0.9)


def house(brush: _Brush, rng: np.random.Generator, size: float, mood: Mood) -> None:
    """A gabled front with a side wall in three-quarter view, door, windows and sometimes a chimney."""
    wall, roof = pick(rng, WALLS), pick(rng, ROOFS)
    if mood.season == 'winter':
        roof = mix(roof, (0.96, 0.97, 1.0), rng.uniform(0.5, 0.9))
    front, depth = size * rng.uniform(0.52, 0.70), size * rng.uniform(0.45, 0.85)
    eaves, eave = size * rng.uniform(0.50, 0.62), size * 0.05
    mirror = rng.choice((-1.0, 1.0))
    origin = (front + depth) / 2
    sunny = mirror * mood.sun > 0

    def place(*points: tuple) -> np.ndarray:
        return np.array([((px - origin) * mirror, py) for px, py in points])

    brush.shadow(-mood.sun * size * 0.15, origin * 1.08, size * 0.06)
    if rng.random() < 0.6:
        stack = front / 2 + depth * rng.uniform(0.4, 0.8)
        brush.fill(place((stack, eaves), (stack + size * 0.09, eaves), (stack + size * 0.09, size * 1.04),
                         (stack, size * 1.04)), (0.50, 0.32, 0.27), side=0.2 * mood.sun)
    side_gain, front_gain = (1.0, 0.82) if sunny else (0.74, 1.0)
    brush.fill(place((front, 0), (front + depth, 0), (front + depth, eaves), (front, eaves)), wall * side_gain,
               wall * side_gain * 0.88, texture=0.04)
    brush.fill(place((0, 0), (front, 0), (front, eaves), (front / 2, size), (0, eaves)), wall * front_gain,
               wall * front_gain * 0.9, texture=0.04)
    slope = (size - eaves) / (front / 2) * eave
    brush.fill(place((front / 2, size + eave), (front + eave, eaves - slope), (front + depth + eave, eaves - slope),
                     (front / 2 + depth + eave, size + eave)), roof * (1.1 if sunny else 0.9), roof * 0.8, texture=0.10)
    for end in (-eave, front + eave):
        brush.fill(place((front / 2, size + eave), (end, eaves - slope), (end, eaves - slope - eave),
                         (front / 2, size)), roof * 0.72)
    _openings(brush, rng, place, front, depth, eaves, size, mood)


def _openings(brush: _Brush, rng: np.random.Generator, place: Callable, front: float, depth: float, eaves: float,
              size: float, mood: Mood) -> None:
    frame = (0.96, 0.95, 0.92) if rng.random() < 0.7 else (0.30, 0.24, 0.20)

    def pane(left: float, low: float, width: float, height: float, colour: Colour) -> None:
        rim = size * 0.015
        for grow, paint in ((rim, frame), (0.0, colour)):
            brush.fill(place((left - grow, low - grow), (left + width + grow, low - grow),
                             (left + width + grow, low + height + grow), (left - grow, low + height + grow)), paint)

    def glass() -> Colour:
        return LAMP if mood.lamps and rng.random() < 0.75 else np.array(GLASS) * rng.uniform(0.7, 1.15)

    door = pick(rng, PAINTS) * 0.8
    window, tall = size * 0.11, size * 0.14
    pane(front * 0.14, 0, size * 0.14, size * 0.28, door)
    pane(front * 0.62, eaves * 0.42, window, tall, glass())
    pane(front / 2 - window / 2, eaves * 1.04, window, tall * 0.9, glass())
    count = 1 if depth < size * 0.55 else 2
    for index in range(count):
        pane(front + depth * (index + 0.5) / count - window / 2, eaves * 0.42, window, tall, glass())


def car(brush: _Brush, rng: np.random.Generator, size: float, mood: Mood) -> None:
    """A saloon or a van from the side; ``size`` is its length."""
    paint, way, van = pick(rng, PAINTS), rng.choice((-1.0, 1.0)), rng.random() < 0.35
    sill, waist, top = 0.09, 0.23, 0.44 if van else 0.37
    if van:
        upper = [(-0.50, waist), (-0.48, top - 0.02), (-0.44, top), (0.22, top), (0.36, waist + 0.02), (0.49, waist)]
        panes = ((-0.43, -0.43, -0.16, -0.16), (-0.12, -0.12, 0.20, 0.30))
    else:
        upper = [(-0.50, waist), (-0.38, waist + 0.02), (-0.26, top), (0.10, top), (0.28, waist + 0.02),
                 (0.49, waist - 0.02)]
        panes = ((-0.33, -0.24, -0.09, -0.09), (-0.06, -0.06, 0.09, 0.23))

    def fill(points: list, colour: Colour, bottom: Colour = None) -> None:
        brush.fill(np.array(points) * (size * way, size), colour, bottom)

    brush.shadow(0, size * 0.52, size * 0.05)
    fill([(-0.5, sill), *upper, (0.5, sill)], np.minimum(paint * 1.15, 1), paint * 0.7)
    for left, left_top, right_top, right in panes:
        fill([(left, waist + 0.02), (left_top, top - 0.025), (right_top, top - 0.025), (right, waist + 0.02)],
             (0.62, 0.74, 0.82), (0.20, 0.27, 0.33))
    fill([(-0.5, sill), (-0.5, 0.12), (0.5, 0.12), (0.5, sill)], paint * 0.45)
    fill(box(0.44, 0.165, 0.5, 0.205), LAMP)
    fill(box(-0.5, 0.17, -0.465, 0.21), (0.75, 0.1, 0.1))
    for wheel in (-0.29, 0.29):
        fill(ellipse(wheel, 0.09, 0.095, 0.095, 24), (0.09, 0.09, 0.10))
        fill(ellipse(wheel, 0.09, 0.048, 0.048, 16), (0.66, 0.68, 0.70))


def boat(brush: _Brush, rng: np.random.Generator, size: float, mood: Mood) -> None:
    """A sailing boat, or a motor boat with a cabin; ``size`` is the hull's length."""
    hull, cloth, way = pick(rng, PAINTS + ((0.50, 0.30, 0.18),)), pick(rng, CLOTHS), rng.choice((-1.0, 1.0))

    def fill(points: list, colour: Colour, bottom: Colour = None, **keywords) -> None:
        brush.fill(np.array(points) * (size * way, size), colour, bottom, **keywords)

    fill([(-0.46, 0.0), (0.44, 0.0), (0.34, -0.22), (-0.36, -0.22)], hull * 0.5, opacity=0.35, solid=False)
    if rng.random() < 0.6:
        mast = rng.uniform(0.85, 1.15)
        jib = cloth if rng.random() < 0.5 else np.array((0.96, 0.95, 0.92))
        fill([(-0.02, 0.22), (-0.45, 0.22), (-0.28, 0.55), (-0.02, mast)], cloth, cloth * 0.86, side=0.12 * mood.sun)
        fill([(0.0, 0.20), (0.48, 0.20), (0.01, mast * 0.9)], jib, jib * 0.9, side=0.1 * mood.sun)
        fill(box(-0.025, 0.1, 0.01, mast + 0.04), (0.36, 0.27, 0.20))
    else:
        fill([(-0.28, 0.12), (-0.28, 0.40), (0.08, 0.40), (0.16, 0.12)], (0.95, 0.94, 0.90), (0.80, 0.80, 0.78))
        fill([(-0.31, 0.39), (-0.31, 0.44), (0.12, 0.44), (0.10, 0.39)], cloth)
        for left in (-0.22, -0.06):
            fill([(left, 0.23), (left, 0.34), (left + 0.11, 0.34), (left + 0.12, 0.23)], LAMP if mood.lamps else GLASS)
    fill([(-0.46, 0.19), (-0.40, 0.0), (-0.30, -0.03), (0.30, -0.03), (0.42, 0.03), (0.54, 0.22)], hull, hull * 0.66)
    fill([(-0.46, 0.19), (-0.455, 0.15), (0.525, 0.18), (0.54, 0.22)], (0.97, 0.96, 0.93))


def balloon(brush: _Brush, rng: np.random.Generator, size: float, mood: Mood) -> None:
    """A striped hot-air balloon; ``(x, y)`` is the bottom of its basket."""
    first, second = pick(rng, CLOTHS), pick(rng, CLOTHS)
    if np.abs(first - second).sum() < 0.5:
        second = np.array((0.97, 0.96, 0.92))
    radius, neck = size * rng.uniform(0.34, 0.40), size * 0.26
    centre = size - radius
    theta = np.linspace(np.pi / 2, -np.pi / 2 * 0.38, 16)
    ys = np.append(centre + radius * np.sin(theta), neck)
    widths = np.append(radius * np.cos(theta), size * 0.09)
    basket = size * 0.075
    for end in (-1, 1):
        brush.fill([(end * basket, size * 0.1), (end * basket * 0.9, size * 0.1), (end * widths[-1] * 0.9, neck),
                    (end * widths[-1], neck)], (0.30, 0.25, 0.20))
    brush.fill(box(-basket, 0, basket, size * 0.11), (0.58, 0.40, 0.24), (0.40, 0.27, 0.16), side=0.2 * mood.sun,
               texture=0.1)
    gores = int(rng.integers(5, 9))
    turn = rng.uniform(0, 1)
    edges = np.clip((np.arange(gores + 2) - turn) / gores * 2 - 1, -1, 1) * np.pi / 2
    for index, (left, right) in enumerate(zip(edges[:-1], edges[1:])):
        light = 0.80 + 0.30 * np.cos((left + right) / 2 - mood.sun * 0.8)
        colour = np.minimum((first if index % 2 else second) * light, 1)
        gore = [np.stack([widths * np.sin(edge), ys], 1) for edge in (left, right)]
        brush.fill(np.concatenate([gore[0], gore[1][::-1]]), np.minimum(colour * 1.08, 1), colour * 0.82)
    if rng.random() < 0.5:
        band = slice(7, 10)
        rims = [np.stack([end * widths[band], ys[band]], 1) for end in (-1, 1)]
        brush.fill(np.concatenate([rims[0], rims[1][::-1]]), pick(rng, CLOTHS), side=0.25 * mood.sun)


DRAW: dict[str, tuple] = {
    'broadleaf': (TREE, broadleaf), 'conifer': (TREE, conifer), 'house': (HOUSE, house), 'car': (CAR, car),
    'boat': (BOAT, boat), 'balloon': (BALLOON, balloon),
}
