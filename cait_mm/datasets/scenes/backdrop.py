"""What the embedded scenes stand in front of: sky, mountains and hills, grass, water, roads."""
from dataclasses import dataclass

import cv2
import numpy as np

from cait_mm.datasets.scenes.canvas import (
    GRASS,
    MOUNTAIN,
    ROAD,
    SKY,
    WATER,
    Canvas,
    Colour,
    box,
    ellipse,
    fractal_noise,
    mix,
    smooth_noise,
)


@dataclass(frozen=True)
class Light:
    """Colours of one time of day.

    Attributes:
        top, bottom: RGB of the sky at the zenith and above the horizon.
        sun: RGB of the sun and its glow.
        tint: RGB factor on everything.
        clouds: 0 (none) to 1 (many).
        lamps: Whether windows are lit.
    """
    top: Colour
    bottom: Colour
    sun: Colour
    tint: Colour
    clouds: float
    lamps: bool = False


LIGHTS = {
    'noon': Light((0.28, 0.52, 0.86), (0.74, 0.87, 0.97), (1.0, 0.98, 0.88), (1.0, 1.0, 1.0), 0.45),
    'morning': Light((0.46, 0.66, 0.86), (0.98, 0.90, 0.80), (1.0, 0.95, 0.80), (1.03, 0.99, 0.93), 0.35),
    'overcast': Light((0.58, 0.64, 0.70), (0.82, 0.85, 0.87), (0.92, 0.92, 0.90), (0.88, 0.91, 0.95), 0.95),
    'evening': Light((0.36, 0.42, 0.68), (0.99, 0.74, 0.50), (1.0, 0.84, 0.52), (1.04, 0.90, 0.78), 0.5),
    'dusk': Light((0.17, 0.21, 0.42), (0.78, 0.52, 0.56), (1.0, 0.78, 0.60), (0.66, 0.66, 0.84), 0.4, lamps=True),
}
GROUNDS = {
    'summer': ((0.42, 0.60, 0.24), (0.52, 0.64, 0.26), (0.36, 0.55, 0.28), (0.70, 0.68, 0.34)),
    'autumn': ((0.62, 0.54, 0.26), (0.52, 0.52, 0.26), (0.70, 0.60, 0.34)),
    'winter': ((0.80, 0.83, 0.88), (0.74, 0.79, 0.86)),
}
ROCKS = ((0.46, 0.47, 0.55), (0.52, 0.46, 0.44), (0.38, 0.42, 0.52), (0.56, 0.52, 0.50))
HILLS = ((0.34, 0.48, 0.36), (0.40, 0.52, 0.46), (0.30, 0.42, 0.38))
TARS = ((0.36, 0.36, 0.38), (0.45, 0.44, 0.44), (0.30, 0.31, 0.34))
SANDS = ((0.78, 0.68, 0.52), (0.70, 0.60, 0.46))
PETALS = ((0.95, 0.85, 0.25), (0.95, 0.95, 0.95), (0.86, 0.30, 0.34), (0.66, 0.42, 0.78))


@dataclass(frozen=True)
class Weather:
    """Light and season of one scene.

    Attributes:
        light: A key of :data:`LIGHTS`.
        season: A key of :data:`GROUNDS`.
        sun: Horizontal place of the sun, -1 (left edge) to 1 (right edge).
    """
    light: str
    season: str
    sun: float

    @property
    def haze(self) -> Colour:
        """What distant things fade to: the sky just above the horizon."""
        return mix(LIGHTS[self.light].bottom, (0.80, 0.84, 0.88), 0.35)


def jitter(rng: np.random.Generator, colours: tuple, spread: float = 0.04) -> np.ndarray:
    """One of ``colours``, its brightness and hue jittered."""
    colour = np.array(colours[rng.integers(len(colours))]) * rng.uniform(0.9, 1.08)
    return np.clip(colour + rng.uniform(-spread, spread, 3), 0, 1)


def draw_sky(canvas: Canvas, rng: np.random.Generator, weather: Weather, horizon: float) -> None:
    """Gradient, sun with its glow, clouds; fills the whole picture."""
    light = LIGHTS[weather.light]
    top, bottom = jitter(rng, (light.top,)), jitter(rng, (light.bottom,))
    canvas.label = (SKY, 0)
    canvas.fill(box(0, 0, canvas.aspect, horizon), top, bottom)
    canvas.fill(box(0, horizon, canvas.aspect, 1), bottom)
    centre = ((weather.sun + 1) / 2 * canvas.aspect, horizon * rng.uniform(0.15, 0.75))
    radius, shown = rng.uniform(0.03, 0.055), rng.random() < 0.6 and weather.light != 'overcast'
    seed = rng.integers(2**32)
    if not canvas.paint:
        return
    everywhere = (slice(None), slice(None))
    y, x = np.mgrid[:canvas.shape[0], :canvas.shape[1]].astype(np.float32) / canvas.scale
    distance = np.hypot(x - centre[0], y - centre[1])
    canvas.blend(everywhere, np.float32(light.sun), np.exp(-(distance / 0.28)**2)[..., None] * 0.55)
    if shown:
        canvas.fill(ellipse(*centre, radius, radius), np.minimum(np.float32(light.sun) * 1.05, 1), solid=False)
    clouds = np.random.default_rng(seed)
    for _ in range(clouds.poisson(5 * light.clouds)):
        _cloud(canvas, clouds, weather, horizon)


def _cloud(canvas: Canvas, rng: np.random.Generator, weather: Weather, horizon: float) -> None:
    width = rng.uniform(0.14, 0.42)
    x, y = rng.uniform(0, canvas.aspect), rng.uniform(0.04, horizon * 0.85)
    mask = np.zeros(canvas.shape, np.uint8)
    for _ in range(rng.integers(6, 12)):
        offset = rng.uniform(-0.5, 0.5)
        radius = width * rng.uniform(0.10, 0.20) * (1.15 - abs(offset))
        centre = (x + offset * width, y - radius * rng.uniform(0.2, 0.9))
        cv2.ellipse(mask, [int(c * canvas.scale) for c in centre],
                    [int(radius * 1.25 * canvas.scale), int(radius * canvas.scale)], 0, 0, 360, 255, -1)
    mask[int(y * canvas.scale):] = 0
    soft = cv2.GaussianBlur(mask, (0, 0), canvas.scale * 0.012).astype(np.float32)[..., None] / 255
    tone = mix((1.0, 1.0, 1.0), LIGHTS[weather.light].bottom, 0.25 if weather.light != 'dusk' else 0.75)
    if weather.light == 'overcast':
        tone = tone * rng.uniform(0.82, 0.98)
    canvas.blend((slice(None), slice(None)), tone, soft * rng.uniform(0.55, 0.9))


def draw_mountains(canvas: Canvas, rng: np.random.Generator, weather: Weather, horizon: float, height: float,
                   distance: float) -> None:
    """A range of peaks ``height`` image heights tall on the horizon, each with a shaded flank and perhaps snow."""
    canvas.label = (MOUNTAIN, 0)
    fade = 0.2 + 0.5 * distance
    rock = mix(jitter(rng, ROCKS), weather.haze, fade)
    shade, snow = rock * 0.74, mix((0.97, 0.98, 1.0), weather.haze, fade * 0.7)
    count = int(rng.integers(3, 6) * max(1, canvas.aspect))
    peaks = (np.arange(count) + rng.uniform(-0.3, 0.3, count) + 0.5) / count * canvas.aspect * 1.2 - 0.1 * canvas.aspect
    tops = height * rng.uniform(0.55, 1.0, count)
    valleys = np.concatenate([[-0.3], (peaks[:-1] + peaks[1:]) / 2, [canvas.aspect + 0.3]])
    lows = height * rng.uniform(0.12, 0.38, count + 1)
    nodes_x = np.insert(valleys, np.arange(1, count + 1), peaks)
    nodes_y = np.insert(lows, np.arange(1, count + 1), tops)
    xs = np.linspace(-0.3, canvas.aspect + 0.3, int(110 * (canvas.aspect + 0.6)))
    rough = height * 0.035 * np.interp(xs, np.linspace(-0.3, canvas.aspect + 0.3, 60), rng.uniform(-1, 1, 60))
    ys = horizon - np.interp(xs, nodes_x, nodes_y) - rough
    outline = np.stack([xs, ys], 1)
    canvas.fill(np.concatenate([outline, [(xs[-1], horizon + 0.02), (xs[0], horizon + 0.02)]]), rock,
                mix(rock, weather.haze, 0.35), texture=0.10)
    snowline = height * rng.uniform(0.15, 0.4) if rng.random() < 0.65 or weather.season == 'winter' else 0.0
    for index in range(count):
        _peak(canvas, rng, outline, peaks[index], valleys[index:index + 2], shade, snow, snowline, weather.sun)


def _peak(canvas: Canvas, rng: np.random.Generator, outline: np.ndarray, peak: float, valleys: np.ndarray,
          shade: Colour, snow: Colour, snowline: float, sun: float) -> None:
    """Snow cap and shaded flank of the peak at ``x = peak`` between two valleys; ``outline`` is the whole range's."""
    xs, ys = outline.T
    at = min(int(np.searchsorted(xs, peak)), len(xs) - 1)
    if snowline:
        cap = outline[(ys < ys[at] + snowline) & (xs > valleys[0]) & (xs < valleys[1])]
        if len(cap) > 2:
            teeth = cap[::-3].copy()
            teeth[:, 1] += rng.uniform(0, 0.4, len(teeth)) * snowline
            canvas.fill(np.concatenate([cap, teeth]), snow, texture=0.03)
    away = 1 if sun < 0 else -1
    flank = outline[at:][xs[at:] <= valleys[1]] if away > 0 else outline[:at + 1][xs[:at + 1] >= valleys[0]][::-1]
    if len(flank) < 3:
        return
    drop = (flank[-1, 1] - ys[at]) * 1.25
    steps = np.linspace(1, 0.1, 6)
    ridge_x = peak + away * drop * 0.5 * (0.25 * steps + np.where(np.arange(6) % 2, 0.2, -0.1))
    ridge = np.stack([ridge_x, ys[at] + drop * steps], 1)
    canvas.fill(np.concatenate([flank, ridge]), shade, opacity=0.55, texture=0.10, solid=False)


def draw_hills(canvas: Canvas, rng: np.random.Generator, weather: Weather, horizon: float, height: float,
               distance: float) -> None:
    """A soft line of hills on the horizon; the same class as the mountains."""
    canvas.label = (MOUNTAIN, 0)
    colour = jitter(rng, HILLS)
    if weather.season != 'summer':
        colour = mix(colour, GROUNDS[weather.season][0], 0.45)
    colour = mix(colour, weather.haze, 0.15 + 0.5 * distance)
    xs = np.linspace(-0.05, canvas.aspect + 0.05, 80)
    wave = sum(rng.uniform(0.3, 1) / k * np.sin(xs * rng.uniform(2.2, 4.2) * k + rng.uniform(0, 6.28))
               for k in (1, 2, 3))
    ys = horizon - height * (0.55 + 0.35 * wave / max(np.abs(wave).max(), 0.5))
    canvas.fill(np.concatenate([np.stack([xs, ys], 1), [(xs[-1], horizon + 0.02), (xs[0], horizon + 0.02)]]), colour,
                mix(colour, weather.haze, 0.3), texture=0.10)


def draw_grass(canvas: Canvas, rng: np.random.Generator, weather: Weather, horizon: float) -> None:
    """Open ground from the horizon to the lower edge: patches, tufts, flowers in summer."""
    canvas.label = (GRASS, 0)
    near = jitter(rng, GROUNDS[weather.season])
    far = mix(near * 1.05, weather.haze, 0.35)
    canvas.fill(box(0, horizon, canvas.aspect, 1), far, near * 0.88)
    flowers, seed = rng.random() < 0.5 and weather.season == 'summer', rng.integers(2**32)
    if not canvas.paint:
        return
    rng = np.random.default_rng(seed)
    first = int(horizon * canvas.scale)
    patches = fractal_noise(rng, (canvas.shape[0] - first, canvas.shape[1]), (7, 3 * canvas.aspect), 3)
    strength = 0.05 if weather.season == 'winter' else 0.14
    tufts = smooth_noise(rng, patches.shape, (90 * (1 - horizon), 90 * canvas.aspect))
    canvas.image[first:] *= 1 + (strength * patches + strength * 0.6 * tufts)[..., None]
    for _ in range(rng.integers(60, 140) if flowers else 0):
        depth = rng.uniform(0.05, 1)**0.7
        radius = 0.0015 + 0.004 * depth
        canvas.fill(ellipse(rng.uniform(0, canvas.aspect), horizon + depth * (1 - horizon), radius, radius * 0.8, 8),
                    PETALS[rng.integers(len(PETALS))], solid=False)


def draw_water(canvas: Canvas, rng: np.random.Generator, weather: Weather, top: float, bottom: float) -> None:
    """A lake from ``top`` (far shore) to ``bottom`` (near shore) that mirrors what was drawn above it."""
    canvas.label = (WATER, 0)
    xs = np.linspace(-0.05, canvas.aspect + 0.05, 50)
    far = top + 0.006 * np.sin(xs * rng.uniform(3, 8) + rng.uniform(0, 6))
    bay, cove = 0.035 * np.sin(xs * rng.uniform(2, 5) + rng.uniform(0, 6)), 0.012 * np.sin(xs * rng.uniform(8, 14))
    near = bottom + (bay + cove if bottom < 1 else 0.1 + 0 * xs)
    outline = np.concatenate([np.stack([xs, far], 1), np.stack([xs, near], 1)[::-1]])
    light = LIGHTS[weather.light]
    deep = mix(mix(light.top, (0.12, 0.34, 0.46), rng.uniform(0.4, 0.75)), jitter(rng, ((0.2, 0.4, 0.5),)), 0.3)
    if bottom < 1:
        sand = jitter(rng, SANDS) if weather.season != 'winter' else np.array((0.80, 0.84, 0.90))
        canvas.fill(outline + (0, 0.014), sand, opacity=0.8, solid=False)
    seed = rng.integers(2**32)
    mirror = _mirror(canvas, top) if canvas.paint else None
    canvas.fill(outline, mix(deep, light.bottom, 0.55), deep * 0.9)
    if mirror is None:
        return
    rng = np.random.default_rng(seed)
    inside = (canvas.semantic == WATER)[..., None]
    rows = slice(int(top * canvas.scale), None)
    fade = np.linspace(0.6, 0.15, canvas.shape[0] - rows.start, dtype=np.float32)[:, None, None]
    canvas.blend((rows, slice(None)), mirror, fade * inside[rows])
    ripples = smooth_noise(rng, inside[rows].shape[:2], (110 * (1 - top), 9 * canvas.aspect))
    ripples += 0.6 * smooth_noise(rng, inside[rows].shape[:2], (46 * (1 - top), 4 * canvas.aspect))
    canvas.image[rows] *= 1 + 0.09 * ripples[..., None] * inside[rows]


def _mirror(canvas: Canvas, top: float) -> np.ndarray:
    """What lies above ``top``, upside down and blurred, for the rows from ``top`` down."""
    first = int(top * canvas.scale)
    count = canvas.shape[0] - first
    source = np.clip(first - 1 - np.arange(count), 0, None)
    return cv2.GaussianBlur(canvas.image[source], (0, 0), sigmaX=canvas.scale * 0.006, sigmaY=canvas.scale * 0.012)


def draw_road(canvas: Canvas, rng: np.random.Generator, top: float, bottom: float) -> None:
    """A road that crosses the picture from side to side, with a dashed middle line."""
    canvas.label = (ROAD, 0)
    tar, tilt = jitter(rng, TARS, 0.02), rng.uniform(-0.02, 0.02)
    width = canvas.aspect

    def strip(low: float, high: float, left: float = -0.01, right: float = width + 0.01) -> np.ndarray:
        ys = [value + tilt * (x / width - 0.5) for x in (left, right) for value in (low, high)]
        return np.array([(left, ys[0]), (right, ys[2]), (right, ys[3]), (left, ys[1])])

    canvas.fill(strip(top - 0.008, bottom + 0.012), jitter(rng, SANDS), solid=False, opacity=0.7)
    canvas.fill(strip(top, bottom), tar * 1.08, tar * 0.9, texture=0.07)
    thick = (bottom - top) * 0.035
    for edge in (top + thick * 2, bottom - thick * 2):
        canvas.fill(strip(edge - thick / 2, edge + thick / 2), (0.93, 0.92, 0.86))
    middle, dash = (top + bottom) / 2, rng.uniform(0.07, 0.1)
    for left in np.arange(-rng.uniform(0, dash), width, dash * 1.9):
        canvas.fill(strip(middle - thick / 2, middle + thick / 2, left, left + dash), (0.95, 0.94, 0.88))


def draw_lane(canvas: Canvas, rng: np.random.Generator, horizon: float) -> None:
    """A winding lane from the lower edge towards the horizon; the same class as the road."""
    canvas.label = (ROAD, 0)
    colour = jitter(rng, TARS + SANDS[1:], 0.02)
    depth = np.linspace(0.03, 1.06, 40)
    start, end = rng.uniform(0.25, 0.75, 2) * canvas.aspect
    bend, phase = rng.uniform(0.06, 0.16), rng.uniform(0, 6.28)
    middle = end + (start - end) * depth + bend * np.sin(phase + 4.2 * depth) * depth**0.6
    half = rng.uniform(0.11, 0.17) * depth**1.15 + 0.005
    ys = horizon + depth * (1 - horizon)
    edges = [np.stack([middle + sign * half, ys], 1) for sign in (-1, 1)]
    verge = [np.stack([middle + sign * half * 1.12, ys], 1) for sign in (-1, 1)]
    canvas.fill(np.concatenate([verge[0], verge[1][::-1]]), colour * 0.8, opacity=0.5, solid=False)
    canvas.fill(np.concatenate([edges[0], edges[1][::-1]]), colour * 1.1, colour * 0.95, texture=0.08)
