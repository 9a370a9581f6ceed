"""What stands where: one recipe per kind of scene, and the drawing of a planned scene."""
from collections.abc import Callable
from dataclasses import dataclass, field

import cv2
import numpy as np

from cait_mm.datasets.scenes import backdrop
from cait_mm.datasets.scenes.canvas import Canvas, smooth_noise
from cait_mm.datasets.scenes.things import DRAW, Mood, Thing, draw_thing

SCENE_KINDS = ('balloons', 'forest', 'harbour', 'highway', 'lake', 'meadow', 'mountains', 'village')

# Below this share of the picture a thing is left out rather than labelled.
MIN_VISIBLE_AREA = 0.0012
MIN_VISIBLE_SHARE = 0.25


@dataclass
class Plan:
    """Everything about a scene except its pixels.

    Attributes:
        horizon: Where the ground meets the hills, in image heights from the top; so are ``water`` and ``road``.
        range_height: Of the mountains on the horizon; 0 for none.
        hill_height: Of the hills before them; 0 for none.
        water: Far and near shore, or None.
        road: Upper and lower edge of a crossing road, or None.
        lane: Whether a lane winds towards the horizon.
        things: Objects, unordered.
    """
    weather: backdrop.Weather
    aspect: float
    horizon: float
    range_height: float = 0.0
    hill_height: float = 0.0
    water: tuple[float, float] | None = None
    road: tuple[float, float] | None = None
    lane: bool = False
    things: list[Thing] = field(default_factory=list)


class _Planner:
    """Places things on the ground of one plan."""

    def __init__(self, rng: np.random.Generator, plan: Plan) -> None:
        self.rng, self.plan = rng, plan

    def add(self, kind: str, x: float, y: float, size: float, layer: int = 1) -> None:
        depth = float(np.clip((y - self.plan.horizon) / (1 - self.plan.horizon), 0, 1))
        self.plan.things.append(Thing(kind, x, y, size, depth, layer, int(self.rng.integers(2**32))))

    def scatter(self, kind: str, count: int, near: float, depths: tuple[float, float] = (0.05, 1.0),
                spacing: float = 0.0) -> None:
        """Put ``count`` things on the ground, ``near`` tall at the viewer and a third of that at the horizon."""
        for _ in range(count):
            for _ in range(20):
                depth = self.rng.uniform(*depths)
                x = self.rng.uniform(0.02, 0.98) * self.plan.aspect
                y = self.plan.horizon + depth * (1 - self.plan.horizon)
                if self._free(x, y, spacing):
                    break
            else:
                continue
            size = near * (0.36 + 0.64 * depth) * self.rng.uniform(0.82, 1.18)
            name = ('broadleaf', 'conifer')[int(self.rng.random() < self.conifers)] if kind == 'tree' else kind
            self.add(name, x, y, size)

    def balloons(self, count: int) -> None:
        for _ in range(count):
            size = self.rng.uniform(0.17, 0.46)
            for _ in range(20):
                x = self.rng.uniform(0.08, 0.92) * self.plan.aspect
                y = self.rng.uniform(min(0.1 + size * 0.8, self.plan.horizon), self.plan.horizon + 0.05)
                if all(np.hypot(t.x - x, t.y - y) > (t.size + size) * 0.42 for t in self.plan.things
                       if t.kind == 'balloon'):
                    break
            else:
                continue
            depth = float(np.clip(size / 0.36, 0, 1))
            self.plan.things.append(Thing('balloon', x, y, size, depth, 0, int(self.rng.integers(2**32))))

    def traffic(self, count: int) -> None:
        """Put ``count`` cars on the two lanes of the crossing road, none through another."""
        top, bottom = self.plan.road
        length = (bottom - top) * self.rng.uniform(1.15, 1.45)
        slots = max(1, int(self.plan.aspect / (length * 1.12)))
        places = self.rng.permutation(2 * slots)[:count]
        for place in places:
            lane, slot = divmod(int(place), slots)
            x = (slot + self.rng.uniform(0.4, 0.6)) / slots * self.plan.aspect
            y = top + (bottom - top) * (0.42 if lane == 0 else 0.90)
            self.add('car', x, y, length * (0.86 if lane == 0 else 1.0) * self.rng.uniform(0.9, 1.05))

    @property
    def conifers(self) -> float:
        """Share of conifers among this scene's trees; the same on every call."""
        return (abs(self.plan.weather.sun) * 7.3) % 1.0

    def _free(self, x: float, y: float, spacing: float) -> bool:
        plan = self.plan
        if plan.water and plan.water[0] - 0.01 < y < plan.water[1] + 0.05:
            return False
        if plan.road and plan.road[0] - 0.02 < y < plan.road[1] + 0.03:
            return False
        return all(abs(thing.x - x) > spacing or abs(thing.y - y) > spacing * 0.4 for thing in plan.things)


def _balloons(planner: _Planner, rng: np.random.Generator) -> None:
    planner.plan.horizon = rng.uniform(0.62, 0.78)
    planner.plan.hill_height = rng.uniform(0.06, 0.14)
    planner.balloons(int(rng.integers(3, 7)))
    planner.scatter('tree', int(rng.integers(0, 5)), 0.34)
    planner.scatter('house', int(rng.integers(0, 2)), 0.26)


def _forest(planner: _Planner, rng: np.random.Generator) -> None:
    planner.plan.lane = rng.random() < 0.35
    planner.plan.hill_height = rng.uniform(0.05, 0.14)
    planner.scatter('tree', int(rng.integers(12, 20)), rng.uniform(0.5, 0.66), spacing=0.09)
    planner.scatter('house', int(rng.random() < 0.25), 0.34, (0.3, 0.8))


def _harbour(planner: _Planner, rng: np.random.Generator) -> None:
    plan = planner.plan
    plan.horizon = rng.uniform(0.34, 0.44)
    shore = plan.horizon + rng.uniform(0.07, 0.13)
    plan.water = (shore, 1.0)
    plan.hill_height = rng.uniform(0.06, 0.14)
    for x in (np.arange(5) + rng.uniform(0.2, 0.8, 5)) / 5 * plan.aspect:
        if rng.random() < 0.7:
            planner.add('house', x, shore - rng.uniform(0.005, 0.03), rng.uniform(0.14, 0.21))
    _boats(planner, rng, int(rng.integers(3, 7)))


def _highway(planner: _Planner, rng: np.random.Generator) -> None:
    plan = planner.plan
    top = rng.uniform(0.54, 0.62)
    plan.road = (top, top + rng.uniform(0.25, 0.34))
    plan.horizon = min(plan.horizon, top - 0.05)
    plan.hill_height = rng.uniform(0.06, 0.14)
    planner.traffic(int(rng.integers(3, 7)))
    planner.scatter('tree', int(rng.integers(0, 5)), 0.34, spacing=0.1)
    planner.scatter('house', int(rng.integers(0, 2)), 0.30, spacing=0.1)


def _lake(planner: _Planner, rng: np.random.Generator) -> None:
    plan = planner.plan
    far = plan.horizon + rng.uniform(0.0, 0.05)
    plan.water = (far, rng.uniform(0.74, 0.9) if rng.random() < 0.75 else 1.0)
    plan.range_height = rng.uniform(0.12, 0.28) if rng.random() < 0.6 else 0.0
    plan.hill_height = rng.uniform(0.06, 0.14)
    _boats(planner, rng, int(rng.integers(0, 3)))
    planner.scatter('tree', int(rng.integers(1, 6)), 0.42, spacing=0.08)
    planner.scatter('house', int(rng.random() < 0.3), 0.30, spacing=0.1)


def _meadow(planner: _Planner, rng: np.random.Generator) -> None:
    planner.plan.hill_height = rng.uniform(0.06, 0.16)
    planner.plan.lane = rng.random() < 0.4
    planner.scatter('tree', int(rng.integers(1, 6)), 0.42, spacing=0.14)
    planner.scatter('house', int(rng.random() < 0.4), 0.32, (0.2, 0.9), spacing=0.14)
    planner.scatter('car', int(rng.random() < 0.5), 0.44, (0.3, 0.9), spacing=0.14)
    planner.balloons(int(rng.random() < 0.2))


def _mountains(planner: _Planner, rng: np.random.Generator) -> None:
    plan = planner.plan
    plan.horizon = rng.uniform(0.58, 0.72)
    plan.range_height = rng.uniform(0.36, 0.52)
    plan.hill_height = rng.uniform(0.03, 0.10) if rng.random() < 0.6 else 0.0
    plan.lane = rng.random() < 0.25
    planner.scatter('tree', int(rng.integers(1, 7)), 0.38, spacing=0.08)
    planner.scatter('house', int(rng.random() < 0.35), 0.28, (0.2, 0.9), spacing=0.12)
    planner.balloons(int(rng.random() < 0.15))


def _village(planner: _Planner, rng: np.random.Generator) -> None:
    plan = planner.plan
    plan.horizon = rng.uniform(0.36, 0.48)
    plan.hill_height = rng.uniform(0.06, 0.14)
    plan.range_height = rng.uniform(0.12, 0.24) if rng.random() < 0.25 else 0.0
    plan.lane = rng.random() < 0.7
    planner.scatter('house', int(rng.integers(4, 8)), rng.uniform(0.34, 0.42), (0.08, 0.95), spacing=0.2)
    planner.scatter('tree', int(rng.integers(1, 6)), 0.40, spacing=0.09)
    planner.scatter('car', int(rng.integers(0, 3)), 0.44, (0.35, 0.95), spacing=0.16)


def _boats(planner: _Planner, rng: np.random.Generator, count: int) -> None:
    far, near = planner.plan.water
    for _ in range(count):
        for _ in range(20):
            share = rng.uniform(0.12, 0.92)
            x = rng.uniform(0.08, 0.92) * planner.plan.aspect
            y = far + share * (near - far)
            if all(abs(t.x - x) > 0.14 or abs(t.y - y) > 0.10 for t in planner.plan.things if t.kind == 'boat'):
                planner.add('boat', x, y, (0.16 + 0.28 * share * (near - far) / 0.5) * rng.uniform(0.85, 1.15))
                break


RECIPES: dict[str, Callable] = dict(zip(
    SCENE_KINDS, (_balloons, _forest, _harbour, _highway, _lake, _meadow, _mountains, _village)))


def plan_scene(rng: np.random.Generator, kind: str, aspect: float) -> Plan:
    """Draw up a scene of one of :data:`SCENE_KINDS` for a picture ``aspect`` times as wide as high."""
    light = rng.choice(list(backdrop.LIGHTS), p=(0.36, 0.2, 0.18, 0.16, 0.10))
    season = rng.choice(list(backdrop.GROUNDS), p=(0.6, 0.25, 0.15))
    weather = backdrop.Weather(str(light), str(season), float(rng.uniform(-1, 1)))
    plan = Plan(weather, aspect, horizon=float(rng.uniform(0.40, 0.56)))
    RECIPES[kind](_Planner(rng, plan), rng)
    return plan


def render_plan(plan: Plan, size: tuple[int, int], entropy: list[int]) -> tuple:
    """Draw a plan: labels first, to leave out what nobody could see, then everything.

    Args:
        plan: Loses the things that are left out.
        size: Height and width in pixels.
        entropy: Seeds everything but the plan.

    Returns:
        uint8 RGB image, uint8 semantic map, int32 instance map (0: none, n: the n-th thing), class of each thing.
    """
    while True:
        _, _, instance = _render(plan, size, entropy, paint=False)
        seen = _visible(plan, instance)
        if len(seen) == len(plan.things):
            break
        plan.things = seen
    image, semantic, instance = _render(plan, size, entropy, paint=True)
    image = _photograph(image, np.random.default_rng([*entropy, 1]), plan.weather)
    return image, semantic, instance, tuple(DRAW[thing.kind][0] for thing in _order(plan.things))


def _order(things: list[Thing]) -> list[Thing]:
    return sorted(things, key=lambda thing: (thing.layer, thing.depth if thing.layer == 0 else thing.y))


def _visible(plan: Plan, instance: np.ndarray) -> list[Thing]:
    counts = np.bincount(instance.ravel(), minlength=len(plan.things) + 1)[1:]
    keep = []
    for thing, count in zip(_order(plan.things), counts):
        whole = 0.3 * thing.size**2 * instance.shape[0]**2
        if count >= max(MIN_VISIBLE_AREA * instance.size, MIN_VISIBLE_SHARE * whole):
            keep.append(thing)
    return keep


def _render(plan: Plan, size: tuple[int, int], entropy: list[int], paint: bool) -> tuple:
    rng = np.random.default_rng([*entropy, 2])
    canvas = Canvas(*size, rng=np.random.default_rng([*entropy, 3]), paint=paint)
    weather, horizon = plan.weather, plan.horizon
    backdrop.draw_sky(canvas, rng, weather, horizon)
    if plan.range_height:
        backdrop.draw_mountains(canvas, rng, weather, horizon, plan.range_height, 0.5)
    if plan.hill_height:
        backdrop.draw_hills(canvas, rng, weather, horizon, plan.hill_height, 0.45)
    backdrop.draw_grass(canvas, rng, weather, horizon)
    if plan.water:
        backdrop.draw_water(canvas, rng, weather, *plan.water)
    if plan.road:
        backdrop.draw_road(canvas, rng, *plan.road)
    if plan.lane:
        backdrop.draw_lane(canvas, rng, horizon)
    mood = Mood(weather.season, weather.sun, backdrop.LIGHTS[weather.light].lamps, weather.haze)
    for number, thing in enumerate(_order(plan.things), start=1):
        draw_thing(canvas, thing, number, mood)
    return canvas.finish()


def _photograph(image: np.ndarray, rng: np.random.Generator, weather: backdrop.Weather) -> np.ndarray:
    """Light, exposure, lens and sensor: float image in, uint8 out."""
    height, width = image.shape[:2]
    image = image * np.float32(backdrop.LIGHTS[weather.light].tint) * rng.uniform(0.97, 1.03, 3).astype(np.float32)
    image = image * rng.uniform(0.90, 1.14)
    image = (image - 0.5) * rng.uniform(0.85, 1.1) + 0.5
    image = image * (1 + 0.06 * smooth_noise(rng, (height, width), (2, 2)))[..., None]
    if rng.random() < 0.25:
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.3, 0.8) * height / 256)
    grain = rng.normal(0, 1, (height, width, 1)) * 0.7 + rng.normal(0, 1, (height, width, 3)) * 0.5
    image = image + grain * rng.uniform(0.004, 0.022)
    return np.clip(np.round(image * 255), 0, 255).astype(np.uint8)
