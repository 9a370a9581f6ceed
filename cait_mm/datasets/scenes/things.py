"""The countable objects of the scenes as polygons: tree, house, car, boat, balloon.

Every function returns the polygons of an object from back to front. Its foot is at the origin, ``y`` points upwards,
and its height (the length of cars and boats) is 1.
"""
import numpy as np

from cait_mm.datasets.scenes.canvas import Colour, between, box, ellipse, mix

Polygon = tuple[np.ndarray, Colour, Colour]
"""The outline ``(n, 2)``, and RGB at its upper and lower end."""

LEAVES = {
    'summer': ((0.20, 0.42, 0.16), (0.28, 0.50, 0.18), (0.12, 0.30, 0.20), (0.36, 0.52, 0.20)),
    'autumn': ((0.78, 0.45, 0.12), (0.70, 0.28, 0.12), (0.82, 0.62, 0.18), (0.14, 0.32, 0.22)),
    'winter': ((0.62, 0.68, 0.72), (0.50, 0.58, 0.58), (0.16, 0.32, 0.28)),
}
WALLS = ((0.93, 0.88, 0.78), (0.88, 0.74, 0.58), (0.80, 0.52, 0.42), (0.72, 0.78, 0.82), (0.62, 0.44, 0.32))
ROOFS = ((0.70, 0.28, 0.20), (0.40, 0.32, 0.30), (0.34, 0.38, 0.44), (0.80, 0.42, 0.24))
PAINTS = ((0.85, 0.16, 0.16), (0.16, 0.36, 0.76), (0.94, 0.94, 0.94), (0.96, 0.74, 0.14), (0.20, 0.22, 0.26),
          (0.16, 0.56, 0.42), (0.55, 0.24, 0.62), (0.90, 0.46, 0.12))
GLASS, DARK, WHITE, WOOD, IRON = ((0.34, 0.46, 0.56), (0.10, 0.10, 0.11), (0.95, 0.95, 0.92), (0.38, 0.28, 0.20),
                                  (0.6, 0.6, 0.6))


def pick(rng: np.random.Generator, colours: tuple[Colour, ...]) -> np.ndarray:
    """One of ``colours``, slightly varied."""
    colour = np.array(colours[rng.integers(len(colours))]) * rng.uniform(0.88, 1.1)
    return np.clip(colour + rng.uniform(-0.05, 0.05, 3), 0.02, 1)


def shaded(outline: np.ndarray | list, colour: Colour, shade: float = 0.8) -> Polygon:
    """A polygon that is darker by ``shade`` at its lower end."""
    return np.asarray(outline), colour, np.asarray(colour) * shade


def tree(rng: np.random.Generator, season: str) -> list[Polygon]:
    """A trunk under a crown of circles, or under three skirts of needles."""
    leaf, width = pick(rng, LEAVES[season]), rng.uniform(0.22, 0.36)
    trunk = shaded(box(-0.04, 0.6, 0.04, 0), WOOD)
    if rng.random() < 0.5:
        return [trunk, *(shaded([(-half * width, low), (half * width, low), (0, low + 0.4)], leaf * 1.2, 0.65)
                         for low, half in ((0.12, 1.0), (0.36, 0.78), (0.60, 0.5)))]
    blobs = [(0.0, 0.6, 0.9)] + [(np.cos(angle) * 0.6, 0.62 + 0.17 * np.sin(angle), rng.uniform(0.4, 0.6))
                                 for angle in np.arange(6) + rng.uniform(0, 1)]
    return [trunk, *(shaded(ellipse(x * width, y + 0.06 * (1 - inset), r * width * inset, r * 0.3 * inset), leaf * gain)
                     for gain, inset in ((0.85, 1.0), (1.15, 0.7)) for x, y, r in blobs)]


def house(rng: np.random.Generator, season: str) -> list[Polygon]:
    """A gabled front and a side wall, with windows and a door."""
    wall, roof = pick(rng, WALLS), pick(rng, ROOFS)
    if season == 'winter':
        roof = mix(roof, WHITE, 0.7)
    left, front, eaves = -rng.uniform(0.45, 0.65), rng.uniform(-0.1, 0.15), rng.uniform(0.5, 0.62)
    right, ridge = -left, (left + front) / 2
    windows = [shaded(box(x, eaves * 0.75, x + 0.11, eaves * 0.42), GLASS, 0.7)
               for x in (front - 0.2, front + 0.1, right - 0.2)]
    return [shaded(box(front, eaves, right, 0), wall * 0.76),
            shaded([(left, 0), (left, eaves), (ridge, 1), (front, eaves), (front, 0)], wall),
            shaded([(ridge, 1), (front, eaves - 0.04), (right + 0.05, eaves - 0.05), (right + ridge - front, 1)], roof),
            shaded([(ridge, 1), (left - 0.05, eaves - 0.06), (left - 0.03, eaves - 0.12), (ridge, 0.92)], roof * 0.7),
            shaded(box(left + 0.08, 0.3, left + 0.23, 0), pick(rng, PAINTS)), *windows]


def car(rng: np.random.Generator, season: str) -> list[Polygon]:
    """A saloon or a van from the side."""
    paint, roof = pick(rng, PAINTS), rng.choice((0.38, 0.46))
    back = -0.44 if roof > 0.4 else -0.28
    parts = [shaded([(-0.5, 0.08), (-0.5, 0.24), (back, roof), (0.14, roof), (0.3, 0.25), (0.5, 0.21), (0.5, 0.08)],
                    paint, 0.6)]
    for x0, x1 in ((back + 0.03, -0.09), (-0.05, 0.2)):
        parts.append(shaded([(x0, 0.25), (x0 + 0.03, roof - 0.03), (min(x1, 0.12), roof - 0.03), (x1, 0.25)], GLASS))
    return parts + [shaded(ellipse(x, 0.09, radius, radius), colour)
                    for x in (-0.28, 0.29) for radius, colour in ((0.09, DARK), (0.045, IRON))]


def boat(rng: np.random.Generator, season: str) -> list[Polygon]:
    """A sailing boat, or one with a cabin."""
    hull, cloth = pick(rng, PAINTS), pick(rng, PAINTS)
    if rng.random() < 0.6:
        mast = rng.uniform(0.8, 1.1)
        parts = [shaded(box(-0.02, mast, 0.01, 0.1), (0.36, 0.27, 0.20)),
                 shaded([(-0.03, 0.2), (-0.44, 0.22), (-0.03, mast)], cloth),
                 shaded([(0.02, 0.2), (0.46, 0.2), (0.02, mast * 0.9)], WHITE)]
    else:
        parts = [shaded(box(-0.28, 0.4, 0.12, 0.12), WHITE), shaded(box(-0.31, 0.45, 0.15, 0.38), cloth),
                 shaded(box(-0.2, 0.33, 0.05, 0.24), GLASS)]
    return [*parts, shaded([(-0.46, 0.18), (-0.36, 0), (0.36, 0), (0.52, 0.21)], hull, 0.6)]


def balloon(rng: np.random.Generator, season: str) -> list[Polygon]:
    """Striped, with a basket."""
    colours, half = (pick(rng, PAINTS), pick(rng, PAINTS)), rng.uniform(0.33, 0.38)
    angle = np.linspace(np.pi / 2, -np.pi / 3, 16)
    ys, widths = np.append(0.64 + 0.36 * np.sin(angle), 0.2), np.append(half * np.cos(angle), 0.07)
    parts = [shaded(box(-0.06, 0.2, 0.06, 0.1), (0.3, 0.25, 0.2)), shaded(box(-0.07, 0.11, 0.07, 0), (0.58, 0.4, 0.24))]
    edges = np.sin(np.linspace(-np.pi / 2, np.pi / 2, rng.integers(5, 9)))
    for index, (left, right) in enumerate(zip(edges[:-1], edges[1:])):
        stripe = between(*(np.stack([widths * edge, ys], 1) for edge in (left, right)))
        parts.append(shaded(stripe, colours[index % 2], 0.75))
    return parts


THINGS = {'tree': tree, 'house': house, 'car': car, 'boat': boat, 'balloon': balloon}
