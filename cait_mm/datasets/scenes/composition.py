"""Where the things of a scene stand, for each kind of scene. Lengths are in image heights, from the top."""
from dataclasses import dataclass

import numpy as np

Range = tuple[float, float]


@dataclass(frozen=True)
class Kind:
    """The ranges of a kind of scene."""
    things: dict[str, tuple[int, int]]  # the smallest and largest number of each
    horizon: Range = (0.40, 0.56)  # the upper edge of the ground
    hills: Range = (0.05, 0.14)  # heights above the horizon
    peaks: Range = (0.12, 0.26)
    mountains: float = 0.0  # the probability of peaks
    lane: float = 0.0  # the probability of a lane to the horizon
    water: tuple[Range, Range] | None = None  # the upper edge, below the horizon, and the lower edge
    road: Range | None = None  # the upper edge of a crossing road


KINDS = {
    'balloons': Kind(dict(balloon=(3, 6), tree=(0, 4), house=(0, 1)), horizon=(0.62, 0.78)),
    'forest': Kind(dict(tree=(12, 19), house=(0, 1)), lane=0.35),
    'harbour': Kind(dict(house=(2, 5), boat=(3, 6)), horizon=(0.34, 0.44), water=((0.07, 0.13), (1.1, 1.1))),
    'highway': Kind(dict(car=(3, 6), tree=(0, 4), house=(0, 1)), horizon=(0.40, 0.52), road=(0.54, 0.62)),
    'lake': Kind(dict(boat=(0, 2), tree=(1, 5), house=(0, 1)), mountains=0.6, water=((0.0, 0.05), (0.74, 1.02))),
    'meadow': Kind(dict(tree=(1, 5), house=(0, 1), car=(0, 1)), lane=0.4),
    'mountains': Kind(dict(tree=(1, 6), house=(0, 1)), (0.58, 0.72), peaks=(0.36, 0.52), mountains=1.0, lane=0.25),
    'village': Kind(dict(house=(4, 7), tree=(1, 5), car=(0, 2)), horizon=(0.36, 0.48), mountains=0.25, lane=0.7),
}
SCENE_KINDS = tuple(KINDS)
SIZES = dict(tree=0.5, house=0.4, car=0.42, boat=0.5)
"""The size of a thing at the lower edge; at the horizon it is 0.36 times that."""


@dataclass(frozen=True)
class Thing:
    """An object with its foot at ``(x, y)``; ``depth`` is 0 at the horizon and 1 at the lower edge."""
    name: str
    x: float
    y: float
    size: float
    depth: float
    seed: int


class Composition:
    """A scene of a kind before it is drawn: edges, and things from back to front."""

    def __init__(self, kind: Kind, rng: np.random.Generator, aspect: float) -> None:
        self.kind, self.aspect, self.horizon = kind, aspect, rng.uniform(*kind.horizon)
        self.water = kind.water and (self.horizon + rng.uniform(*kind.water[0]), rng.uniform(*kind.water[1]))
        self.road = kind.road and tuple(rng.uniform(*kind.road) + np.array((0, rng.uniform(0.25, 0.34))))
        self.things: list[Thing] = []
        for name, (fewest, most) in kind.things.items():
            for _ in range(rng.integers(fewest, most + 1)):
                self._place(name, rng)
        self.things.sort(key=lambda thing: (thing.name != 'balloon', thing.y))

    def _place(self, name: str, rng: np.random.Generator) -> None:
        """Add a thing at a free place, unless twenty tries find none."""
        for _ in range(20):
            x, y = rng.uniform(0.04, 0.96) * self.aspect, self._foot(name, rng)
            bands = (self.water, self.road) if name in ('tree', 'house') else ()
            if any(band and band[0] - 0.02 < y < band[1] + 0.05 for band in bands):
                continue
            depth = max(0.0, (y - self.horizon) / (1 - self.horizon))
            if name == 'balloon':
                size, depth = rng.uniform(0.17, 0.46), 0.7
            else:
                size = SIZES[name] * (0.36 + 0.64 * depth) * rng.uniform(0.82, 1.18)
            room = size * (0.3 if name == 'tree' else 0.75)
            if all(abs(other.x - x) > room or abs(other.y - y) > room * 0.6 for other in self.things):
                self.things.append(Thing(name, x, y, size, depth, int(rng.integers(2**32))))
                return

    def _foot(self, name: str, rng: np.random.Generator) -> float:
        """A height at which a thing may stand or a balloon hang."""
        if name == 'balloon':
            return rng.uniform(0.25, self.horizon + 0.03)
        if name == 'boat':
            return rng.uniform(self.water[0] + 0.03, min(self.water[1], 1.0))
        if name == 'car' and self.road:  # on one of two lanes
            return self.road[0] + (self.road[1] - self.road[0]) * rng.choice((0.42, 0.9))
        return rng.uniform(self.horizon + 0.02, 1.0)
