"""From a number to a labelled picture: a composition is drawn, then photographed."""
from copy import deepcopy
from dataclasses import dataclass

import cv2
import numpy as np

from cait_mm.datasets.scenes.canvas import CLASSES, Canvas, Colour, between, box, ellipse, mix, noise
from cait_mm.datasets.scenes.composition import KINDS, SCENE_KINDS, Composition, Thing
from cait_mm.datasets.scenes.things import THINGS, WHITE, pick

SPLITS = {'train': 'training', 'val': 'validation'}
"""Splits and their folders."""
MIN_VISIBLE = 0.0012
"""The share of the picture below which a thing is left out instead of labelled."""

LIGHTS = (  # sky above, sky at the horizon, tint of everything
    ((0.28, 0.52, 0.86), (0.74, 0.87, 0.97), (1.0, 1.0, 1.0)),
    ((0.58, 0.64, 0.70), (0.82, 0.85, 0.87), (0.88, 0.91, 0.95)),
    ((0.36, 0.42, 0.68), (0.99, 0.74, 0.50), (1.04, 0.90, 0.78)),
    ((0.24, 0.27, 0.50), (0.84, 0.58, 0.60), (0.74, 0.72, 0.88)),
)
GROUNDS = {
    'summer': ((0.42, 0.60, 0.24), (0.52, 0.64, 0.26), (0.36, 0.55, 0.28), (0.70, 0.68, 0.34)),
    'autumn': ((0.62, 0.54, 0.26), (0.52, 0.52, 0.26), (0.70, 0.60, 0.34)),
    'winter': ((0.80, 0.83, 0.88), (0.74, 0.79, 0.86)),
}
ROCKS = ((0.46, 0.47, 0.55), (0.52, 0.46, 0.44), (0.38, 0.42, 0.52))
HILLS = ((0.34, 0.48, 0.36), (0.40, 0.52, 0.46), (0.50, 0.50, 0.36))
TARS = ((0.36, 0.36, 0.38), (0.45, 0.44, 0.44), (0.62, 0.54, 0.42))
TEXTURES = dict(mountain=(14, 14, 0.10), grass=(60, 50, 0.14), water=(55, 6, 0.12), road=(90, 90, 0.06),
                tree=(45, 45, 0.14), house=(60, 60, 0.05))
"""The number of bumps of the noise on a class, down and across, and its strength."""


@dataclass(frozen=True)
class Scene:
    """One labelled picture of ``H x W`` pixels.

    Attributes:
        image: ``(H, W, 3)`` uint8, RGB.
        semantic: ``(H, W)`` uint8, indices into ``CLASSES``; every pixel has one.
        instance: ``(H, W)`` int32, 0 for background, otherwise the object's number counted from 1.
        categories: Class index of object 1, 2, ...
    """
    image: np.ndarray
    semantic: np.ndarray
    instance: np.ndarray
    categories: tuple[int, ...]


def draw_scene(index: int, split: str = 'train', size: tuple[int, int] = (192, 192), seed: int = 0) -> Scene:
    """Draw scene ``index`` (0 or more) of ``split`` (``'train'`` or ``'val'``), ``size`` (height, width) pixels large.

    It depends only on these arguments. The kinds take turns: any eight scenes in a row hold each of them once.
    """
    rng = np.random.default_rng([seed, list(SPLITS).index(split), index])
    kind = KINDS[SCENE_KINDS[index % len(SCENE_KINDS)]]
    return draw_composition(Composition(kind, rng, size[1] / size[0]), size, rng)


def draw_composition(composition: Composition, size: tuple[int, int], rng: np.random.Generator) -> Scene:
    """Draw a composition; things that cannot be seen are removed from it."""
    light = LIGHTS[rng.choice(len(LIGHTS), p=(0.45, 0.2, 0.2, 0.15))]
    season = str(rng.choice(list(GROUNDS), p=(0.6, 0.25, 0.15)))
    backdrop = Canvas(*size)
    draw_backdrop(backdrop, composition, light, season, rng)
    while True:
        canvas = deepcopy(backdrop)
        for number, thing in enumerate(composition.things, start=1):
            draw_thing(canvas, thing, number, light[1], season)
        semantic, instance = canvas.labels()
        areas = np.bincount(instance.ravel(), minlength=len(composition.things) + 1)[1:]
        least = [max(MIN_VISIBLE * instance.size, 0.06 * (thing.size * size[0])**2) for thing in composition.things]
        if (areas >= least).all():
            break
        composition.things = [thing for thing, seen in zip(composition.things, areas >= least) if seen]
    categories = tuple(CLASSES.index(thing.name) for thing in composition.things)
    return Scene(photograph(canvas.picture(), semantic, light[2], rng), semantic, instance, categories)


def draw_backdrop(canvas: Canvas, composition: Composition, light: tuple[Colour, ...], season: str,
                  rng: np.random.Generator) -> None:
    """Sky, peaks, hills, ground, water, roads."""
    above, haze, _ = light
    right, horizon = composition.aspect + 0.01, composition.horizon
    xs = np.linspace(-0.01, right, 90)

    def strip(upper: np.ndarray | float, lower: np.ndarray | float) -> np.ndarray:
        """The area between two heights."""
        return between(*(np.stack([xs, np.broadcast_to(ys, xs.shape)], 1) for ys in (upper, lower)))

    canvas.fill(strip(0, 1.01), mix(above, rng.uniform(0, 1, 3), 0.1), haze, ('sky', 0))
    canvas.fill(ellipse(rng.uniform(0, right), horizon * rng.uniform(0.1, 0.8), 0.05, 0.05), (1.0, 0.96, 0.80))
    for _ in range(rng.integers(0, 5)):
        x, y, width = rng.uniform(0, right), rng.uniform(0.05, horizon), rng.uniform(0.05, 0.14)
        for shift in (-0.7, 0.0, 0.6):
            canvas.fill(ellipse(x + shift * width, y, width, width * rng.uniform(0.2, 0.4)), mix(WHITE, haze, 0.3),
                        opacity=0.7)
    if rng.random() < composition.kind.mountains:
        height, rock = rng.uniform(*composition.kind.peaks), mix(pick(rng, ROCKS), haze, rng.uniform(0.1, 0.5))
        nodes = np.linspace(-0.2, right + 0.2, 2 * rng.integers(3, 6)) + rng.uniform(-0.05, 0.05)
        tops = rng.uniform(0.55, 1.0, len(nodes)) * np.where(np.arange(len(nodes)) % 2, 1, 0.4)
        ridge = horizon - height * (np.interp(xs, nodes, tops) + rng.uniform(-0.03, 0.03, len(xs)))
        snow = horizon - height * (rng.uniform(0.5, 0.8) + rng.uniform(-0.05, 0.05, len(xs)))
        canvas.fill(strip(ridge, horizon + 0.01), rock, mix(rock, haze, 0.4), ('mountain', 0))
        canvas.fill(strip(ridge, np.maximum(ridge, snow)), mix(WHITE, haze, 0.3))
    waves = sum(rng.uniform(0.3, 1) * np.sin(xs * rng.uniform(2, 5) * k + rng.uniform(0, 6)) / k for k in (1, 2, 3))
    hill = mix(pick(rng, HILLS), haze, 0.35)
    canvas.fill(strip(horizon - rng.uniform(*composition.kind.hills) * (0.6 + 0.25 * waves), horizon + 0.01), hill,
                mix(hill, haze, 0.35), ('mountain', 0))
    ground, tar = pick(rng, GROUNDS[season]), pick(rng, TARS)
    canvas.fill(strip(horizon, 1.01), mix(ground, haze, 0.35), ground * 0.9, ('grass', 0))
    if composition.water:
        near = composition.water[1] + 0.03 * np.sin(xs * rng.uniform(3, 6) + rng.uniform(0, 6))
        deep = mix(above, (0.14, 0.36, 0.46), rng.uniform(0.3, 0.7))
        canvas.fill(strip(composition.water[0], near), mix(deep, haze, 0.5), deep * 0.9, ('water', 0))
    if composition.road:
        canvas.fill(strip(*composition.road), tar, tar * 0.85, ('road', 0))
        middle = sum(composition.road) / 2
        for left in np.arange(rng.uniform(-0.1, 0), right, 0.16):
            canvas.fill(box(left, middle, left + 0.09, middle + 0.012), WHITE)
    if rng.random() < composition.kind.lane:
        depth, (near, far) = np.linspace(0.02, 1.05, 30), rng.uniform(0.25, 0.75, 2) * composition.aspect
        middle = far + (near - far) * depth + 0.1 * np.sin(rng.uniform(0, 6) + 4 * depth) * depth
        half, ys = rng.uniform(0.11, 0.17) * depth, horizon + depth * (1 - horizon)
        lane = between(*(np.stack([middle + sign * half, ys], 1) for sign in (-1, 1)))
        canvas.fill(lane, tar, tar * 0.9, ('road', 0))


def draw_thing(canvas: Canvas, thing: Thing, number: int, haze: Colour, season: str) -> None:
    """Draw a thing as object ``number``, perhaps mirrored, with a shadow; distant things are paler."""
    rng, fade = np.random.default_rng(thing.seed), 0.45 * (1 - thing.depth)**1.5
    foot, scale = (thing.x, thing.y), np.array([rng.choice((-1, 1)), -1]) * thing.size
    if thing.name != 'balloon':
        canvas.fill(ellipse(*foot, thing.size * 0.5, thing.size * 0.06), (0.06, 0.08, 0.12), opacity=0.3)
    for outline, top, bottom in THINGS[thing.name](rng, season):
        top, bottom = (mix(np.minimum(colour, 1), haze, fade) for colour in (top, bottom))
        canvas.fill(outline * scale + foot, top, bottom, (thing.name, number))


def photograph(image: np.ndarray, semantic: np.ndarray, tint: Colour, rng: np.random.Generator) -> np.ndarray:
    """Surfaces, light, exposure, lens and sensor: ``(H, W, 3)`` float32 in, uint8 out."""
    height, width = semantic.shape
    gain = 1 + 0.08 * noise(rng, semantic.shape, (3, 3))
    for name, (down, across, strength) in TEXTURES.items():
        bumps = noise(rng, semantic.shape, (down, across * width / height))
        gain *= 1 + strength * bumps * (semantic == CLASSES.index(name))
    image = image * gain[..., None] * np.float32(tint) * rng.uniform(0.87, 1.16)
    image = (image - 0.5) * rng.uniform(0.8, 1.1) + 0.5
    if rng.random() < 0.25:
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.3, 0.8) * height / 256)
    image = image + rng.normal(0, rng.uniform(0.005, 0.03), image.shape)
    return np.clip(np.round(image * 255), 0, 255).astype(np.uint8)
