"""What the parts of a ViT cost on a device, as data, and the predicted time of a spec.

A table belongs to an architecture, an image size and a way to run it. It is JSON that can be looked at, sent to others
and used on another machine than the one it was measured on::

    {"version": 1, "arch": {...}, "img_size": [224, 224], "conditions": {"CPU": ..., "batch_size": 1, ...},
     "ms": {"attention": {"": {"197": {"8": 1.51, "16": 1.58, ...}, "99": {...}}},
            "ffn": {"": {"197": {"96": 0.42, ...}, ...}},
            "merge": {"": {"99": 0.11, ...}}, "enter": {}, "map": {}, "stem": {"": {"197": 1.2}},
            "head": {"": {"50": 0.1, ...}}}}

The keys below a part are the kind of the block (:meth:`~cait_mm.arch.base.Arch.alike`), the tokens that the part
leaves, prefix included, and for attention and FFN the width. Between measured points time is linear in both; beyond
them it stays, but with fewer tokens than were measured it goes on along the last line. ``enter`` is the step to a new
stage, ``map`` the making of an output's map, ``head`` everything behind it all.
"""
import json
import math
from bisect import bisect_left
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from cait_mm.arch import Arch, BlockSpec, as_image_size, check_keys, get_arch
from cait_mm.errors import UserError, reason_of, shown
from cait_mm.spec import Spec
from cait_mm.utils.files import atomic_path
from cait_mm.utils.inputs import read_text
from cait_mm.utils.schema import is_number, is_whole

VERSION = 1
STEP = 8
"""Widths are measured, and cut under a budget of time, in multiples of this; fold pads to it too."""
WIDE = ('attention', 'ffn')
"""Parts whose time depends on a width."""
PARTS = ('stem', *WIDE, 'merge', 'enter', 'map', 'head')
Curve = Mapping[int, float]
"""Milliseconds by width, or by tokens."""
Price = Callable[[int, BlockSpec], float]
"""Milliseconds of a block, from its number and its widths."""


@dataclass(frozen=True)
class LatencyTable:
    """Milliseconds of the parts of an architecture on one device, for a whole batch.

    Args:
        arch: The dense architecture.
        img_size: Pixels (H, W) of the images.
        conditions: The device and the way to run, in plain types.
        ms: Milliseconds: part, kind, tokens and, for attention and FFN, width.
        outputs: The blocks whose output is made a map, in order; None for a classifier. Blocks behind the last one are
            not built.

    Raises:
        UserError: Parts are missing.
    """

    arch: Arch
    img_size: tuple[int, int]
    conditions: Mapping[str, Any]
    ms: Mapping[str, Mapping[str, Mapping[int, Any]]]
    outputs: tuple[int, ...] | None = None
    prefix: int = 0
    _known: dict[Any, float] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for part in ('stem', *WIDE, 'head'):
            if not self.ms.get(part) or not all(self.ms[part].values()):
                raise UserError(f'the latency table has no times of {part}.')

    @property
    def depth(self) -> int:
        """Blocks that are built."""
        return self.arch.depth if self.outputs is None else self.outputs[-1] + 1

    @cached_property
    def dense(self) -> float:
        """Milliseconds of the dense model."""
        return self.predict(Spec.dense(self.arch))

    def predict(self, spec: Spec) -> float:
        """Milliseconds of a batch through the model of ``spec``.

        Widths are rounded up to multiples of :data:`STEP`, as fold pads them.

        Raises:
            UserError: It is another architecture, or reduces tokens in another way than by merges.
        """
        if spec.arch != self.arch:
            raise UserError(f'the latency table is of {self.arch.name}, and the model is another ({spec.arch.name}): '
                            'measure one for it.')
        if spec.tokens is not None:
            raise UserError(f'the latency table knows merges, and not {type(spec.tokens).__name__}.')
        tokens, price = self._tokens(spec), self.price(spec)
        total = self._at('stem', '', self._dense_tokens(0))
        for index, count in enumerate(tokens):
            around = {'merge': index in spec.placed, 'enter': self.arch.enters(index),
                      'map': index in (self.outputs or ())}
            total += sum(self._at(part, self.arch.alike(index, part), count) for part in around if around[part])
            total += price(index, spec.blocks[index])
        return total + self._at('head', '', tokens[-1])

    def saved(self, spec: Spec) -> float:
        """The share of the dense model's time that ``spec`` saves."""
        return 1 - self.predict(spec) / self.dense

    def prediction(self, spec: Spec) -> dict[str, Any]:
        """The milliseconds of ``spec`` and of the dense model, and where they hold, in plain types."""
        return {'ms': self.predict(spec), 'dense_ms': self.dense, 'conditions': dict(self.conditions)}

    def price(self, spec: Spec) -> Price:
        """Milliseconds of attention and FFN of a block of any widths, at the tokens that ``spec`` leaves it."""
        tokens = self._tokens(spec)

        def price(index: int, block: BlockSpec) -> float:
            key = index, tokens[index], block
            if key not in self._known:
                dense = self.arch.dense_block(index)
                widths = attention_width(self.arch, block), block.ffn_dim
                full = attention_width(self.arch, dense), dense.ffn_dim
                self._known[key] = sum(self._at(part, self.arch.alike(index, part), tokens[index],
                                                width if width == most else rounded(width))
                                       for part, width, most in zip(WIDE, widths, full))
            return self._known[key]

        return price

    def curve(self, spec: Spec, part: str, block: int) -> Curve:
        """Milliseconds of attention or FFN (``part``) of a block by width, at the tokens that ``spec`` leaves it."""
        kind, tokens = self.arch.alike(block, part), self._tokens(spec)[block]
        widths = {width for curve in self._by_tokens(part, kind).values() for width in curve}
        return {width: self._at(part, kind, tokens, width) for width in sorted(widths)}

    def _tokens(self, spec: Spec) -> list[int]:
        return [height * width + self.prefix for height, width in spec.grids(self.img_size)[:self.depth]]

    def _dense_tokens(self, block: int) -> int:
        return self._tokens(Spec.dense(self.arch))[block]

    def _at(self, part: str, kind: str, tokens: int, width: int | None = None) -> float:
        """Milliseconds, interpolated.

        Raises:
            UserError: There is no such part.
        """
        by_tokens = self._by_tokens(part, kind)
        if width is not None:
            by_tokens = {count: interpolated(curve, width) for count, curve in by_tokens.items()}
        return interpolated(by_tokens, tokens, downwards=True)

    def _by_tokens(self, part: str, kind: str) -> Mapping[int, Any]:
        try:
            return self.ms[part][kind]
        except KeyError:
            raise UserError(f'the latency table has no times of {part}{kind and f" ({kind})"}.') from None

    def require(self, arch: Arch, img_size: tuple[int, int], outputs: tuple[int, ...] | None = None) -> 'LatencyTable':
        """This table.

        Raises:
            UserError: It is of another model or image size.
        """
        own, asked = (f'{"a classifier" if maps is None else f"a backbone with maps of blocks {list(maps)}"}, '
                      f'{model.name}, at {size[0]}x{size[1]}' for model, size, maps in (
                          (self.arch, self.img_size, self.outputs), (arch, tuple(img_size), outputs)))
        if (self.arch, self.img_size, self.outputs) != (arch, tuple(img_size), outputs):
            raise UserError(f'the latency table is of {own}; the model is {asked}: measure one for it with '
                            'tools/latency.py.')
        return self

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {'version': VERSION, 'arch': self.arch.to_dict(), 'img_size': list(self.img_size),
                **({} if self.outputs is None else {'outputs': list(self.outputs)}), 'prefix': self.prefix,
                'conditions': dict(self.conditions), 'ms': _as_text(self.ms)}

    @classmethod
    def from_dict(cls, data: Any) -> 'LatencyTable':
        """Read :meth:`to_dict`'s form.

        Raises:
            UserError: It is none.
        """
        required = ('version', 'arch', 'img_size', 'prefix', 'conditions', 'ms')
        check_keys('the latency table', data, (*required, 'outputs'), required)
        if data['version'] != VERSION:
            raise UserError(f'the latency table has version {shown(data["version"])}; this cait_mm reads {VERSION}.')
        if not isinstance(data['conditions'], Mapping) or not isinstance(data['ms'], Mapping):
            raise UserError('conditions and ms of a latency table are mappings.')
        arch, outputs = get_arch(data['arch']), data.get('outputs')
        if outputs is not None:
            if not isinstance(outputs, list) or not outputs or any(
                    isinstance(block, bool) or not isinstance(block, int) or not 0 <= block < arch.depth
                    for block in outputs):
                raise UserError(f'outputs={shown(outputs)} of a latency table are no numbers of blocks.')
            outputs = tuple(outputs)
        ms = {part: {kind: {_whole(part, tokens): _times(part, value) for tokens, value in _mapping(part, by).items()}
                     for kind, by in _mapping(part, data['ms'].get(part, {})).items()} for part in PARTS}
        if not is_whole(data['prefix']):
            raise UserError(f'prefix={shown(data["prefix"])} of a latency table is no number of tokens.')
        return cls(arch, as_image_size('img_size', data['img_size']), dict(data['conditions']), ms, outputs,
                   data['prefix'])

    @classmethod
    def from_file(cls, path: str | Path) -> 'LatencyTable':
        """Read a JSON file.

        Raises:
            UserError: It is missing or no latency table; the message names the file.
        """
        try:
            return cls.from_dict(json.loads(read_text(path)))
        except UserError as error:
            raise UserError(f'{path}: {error}') from error
        except (ValueError, RecursionError) as error:
            raise UserError(f'the latency table {path} is no readable JSON ({reason_of(error)}).') from error

    def save(self, path: str | Path) -> None:
        """Write a JSON file, a curve on each line, completely or not at all."""
        text = json.dumps(self.to_dict(), indent=1)
        with atomic_path(path) as temporary:
            temporary.write_text(text + '\n', encoding='utf-8')


def rounded(width: int) -> int:
    """``width`` as a fold pads it."""
    return -(-width // STEP) * STEP


def attention_width(arch: Arch, block: BlockSpec) -> int:
    """The width per head that stands for an attention: that of queries, keys and values, which are padded to one; where
    a norm keeps the channels of some, that of the others.
    """
    widths = [width for name, width in (('q', block.qk_dim), ('v', block.v_dim)) if name not in arch.whole]
    return max(widths or (block.v_dim, ))


def of_width(arch: Arch, block: BlockSpec, width: int) -> BlockSpec:
    """The block whose attention is ``width`` channels wide per head (:func:`attention_width`)."""
    changes = {field: width for name, field in (('q', 'qk_dim'), ('v', 'v_dim')) if name not in arch.whole}
    return replace(block, **changes)


def share_of(speedup: float) -> float:
    """The share of time that a speed-up saves: 0.5 for 2.

    Raises:
        UserError: It is no speed-up.
    """
    if not is_number(speedup) or speedup <= 1:
        raise UserError(f'`speedup={shown(speedup)}`: it has to be a number above 1, 2.0 for half of the time.')
    return 1 - 1 / speedup


def as_speedup(share: float) -> str:
    """A share of time that is saved, in words."""
    return f'a speed-up of {1 / (1 - share):.2f}x'


def interpolated(curve: Curve, at: float, downwards: bool = False) -> float:
    """The value of a curve that is linear between its points, and constant beyond them.

    Args:
        curve: Values by points.
        at: Where.
        downwards: Below the first point go on along the line through the first two, to 0 at most.
    """
    points = sorted(curve)
    place = bisect_left(points, at)
    if place == len(points) or points[place] == at:
        return curve[points[min(place, len(points) - 1)]]
    if place == 0:
        if not downwards or len(points) == 1:
            return curve[points[0]]
        place = 1
    below, above = points[place - 1:place + 1]
    share = (at - below) / (above - below)
    return max(0., curve[below] + share * (curve[above] - curve[below]))


def _as_text(ms: Mapping[str, Any]) -> dict[str, Any]:
    def curve(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {str(key): curve(item) for key, item in sorted(value.items())}
        return float(f'{value:.5g}')

    return {part: curve(ms.get(part, {})) for part in PARTS}


def _mapping(part: str, value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise UserError(f'the latency table has {shown(value)} where times of {part} should be.')
    return value


def _whole(part: str, text: Any) -> int:
    if not (isinstance(text, str) and text.isascii() and text.isdigit() and len(text) < 10):
        raise UserError(f'the latency table has {shown(text)} instead of a number of tokens or channels of {part}.')
    return int(text)


def _times(part: str, value: Any) -> Any:
    if part in WIDE:
        curve = {_whole(part, width): _time(part, ms) for width, ms in _mapping(part, value).items()}
        if not curve:
            raise UserError(f'the latency table has no times of {part}.')
        return curve
    return _time(part, value)


def _time(part: str, value: Any) -> float:
    if not is_number(value, 0) or not math.isfinite(value):
        raise UserError(f'the latency table has {shown(value)} instead of milliseconds of {part}.')
    return float(value)
