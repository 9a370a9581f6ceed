"""Measuring a latency table: whole models run, and a clock is read between their parts.

Parts are timed where they stand, with the caches, the memory and the biases that they have in a model, and their times
add up to that of the model.
"""
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn

from cait_mm.errors import UserError
from cait_mm.latency.probes import probes
from cait_mm.latency.table import WIDE, LatencyTable, attention_width
from cait_mm.models import Backbone
from cait_mm.models.base import backbone_inside
from cait_mm.spec import Spec
from cait_mm.utils.speed import conditions, time_interleaved

DTYPES = {'float32': torch.float32, 'bfloat16': torch.bfloat16, 'float16': torch.float16}
SECONDS = 60.
"""To spend on rounds, roughly."""
LEAST_ROUNDS, MOST_ROUNDS = 4, 50


@dataclass(frozen=True)
class Measured:
    """How far a measurement is: forward passes done and in all, and seconds left, estimated."""

    done: int
    count: int
    seconds_left: float


def measure(model: nn.Module, *, img_size: tuple[int, int] | None = None, batch_size: int = 1, device: str = 'cpu',
            dtype: str = 'float32', seconds: float = SECONDS,
            progress: Callable[[Measured], Any] | None = None) -> LatencyTable:
    """The latency table of a classifier, or of a backbone with its maps, on this machine.

    Args:
        model: Of full width; it stays as it is, and its weights do not matter.
        img_size: Pixels (H, W) of the images; None is the model's.
        batch_size: Images at once.
        device: ``cpu`` or ``cuda``.
        dtype: Of weights and images: ``float32``, ``bfloat16`` or ``float16``.
        seconds: To spend on timing, after a first pass of every model; four rounds are made at least.
        progress: Called after every forward pass.

    Raises:
        UserError: The model is pruned, reduces tokens in another way than by merges, or there is no such device.
    """
    backbone = backbone_inside(model)
    if backbone.spec.is_pruned or backbone.spec.tokens is not None:
        raise UserError(f'`model`: this {backbone.arch.name} is compressed already: a latency table starts from the '
                        'dense one.')
    if device == 'cuda' and not torch.cuda.is_available():
        raise UserError('`device=cuda`: there is no GPU here that PyTorch can use.')
    donor = deepcopy(model).to(device, DTYPES[dtype]).eval()
    depth, size = len(backbone.flat_blocks()), img_size or backbone.img_size
    images = torch.rand(batch_size, backbone.arch.in_channels, *size, device=device, dtype=DTYPES[dtype])
    samples: dict[tuple, list[float]] = defaultdict(list)
    specs = probes(backbone.arch, size, depth, backbone.num_cls)
    calls = {str(number): partial(_timed, _of_spec(donor, spec), images, samples, device)
             for number, spec in enumerate(specs)}
    with torch.inference_mode():
        for call in calls.values():  # warm-up
            call()
    samples.clear()
    once = sum(timing.median for timing in time_interleaved(calls, 1, warmup=0, device=device).values())
    rounds = max(LEAST_ROUNDS, min(MOST_ROUNDS, int(seconds / once)))
    if progress is not None:
        calls = _watched(calls, (rounds - 1) * len(calls), progress)
    time_interleaved(calls, rounds - 1, warmup=0, device=device)
    way = way_of(model, size, batch_size, device, dtype)
    size, outputs, prefix = (way.pop(name) for name in ('img_size', 'outputs', 'prefix'))
    return LatencyTable(backbone.arch, size, {**way, 'rounds': rounds}, _by_part(samples), outputs, prefix)


def way_of(model: nn.Module, img_size: tuple[int, int] | None, batch_size: int, device: str,
           dtype: str) -> dict[str, Any]:
    """Everything but the architecture that times depend on, in plain types."""
    backbone = backbone_inside(model)
    return {'img_size': img_size or backbone.img_size, 'outputs': outputs_of(model), 'prefix': backbone.num_cls,
            'runtime': 'eager', 'dtype': dtype, 'batch_size': batch_size, **conditions(device),
            **({'restore_mode': backbone.restore_mode} if model is backbone else {})}


def outputs_of(model: nn.Module) -> tuple[int, ...] | None:
    """The blocks whose output a backbone makes a map of; None for a classifier."""
    return model.output_blocks() if isinstance(model, Backbone) else None


def _of_spec(donor: nn.Module, spec: Spec) -> nn.Module:
    """A model of ``spec`` whose weights lie in the memory of the donor's, so that any number of models fit."""
    model = deepcopy(donor)
    backbone_inside(model).rebuild(spec)
    weights = dict(donor.named_parameters())
    for name, parameter in model.named_parameters():
        if name in weights and weights[name].numel() >= parameter.numel():
            parameter.data = weights[name].detach().flatten()[:parameter.numel()].view(parameter.shape)
    return model.eval()


class _Clock:
    """Seconds between the readings of a forward pass, summed by label."""

    def __init__(self, device: str) -> None:
        self.on_gpu, self.readings = device == 'cuda', []

    def read(self, label: Any = None) -> None:
        """Note that everything since the last reading belongs to ``label``."""
        if self.on_gpu:
            now = torch.cuda.Event(enable_timing=True)
            now.record()
        else:
            now = time.perf_counter()
        self.readings.append((label, now))

    def seconds(self) -> dict[Any, float]:
        if self.on_gpu:
            torch.cuda.synchronize()
        sums: dict[Any, float] = defaultdict(float)
        for (_, begin), (label, end) in zip(self.readings, self.readings[1:]):
            sums[label] += begin.elapsed_time(end) / 1000 if self.on_gpu else end - begin
        return sums


def _timed(model: nn.Module, images: Tensor, samples: dict[tuple, list[float]], device: str) -> None:
    """A forward pass that adds the seconds of every part to ``samples``, by part, kind, tokens and width."""
    backbone, clock = backbone_inside(model), _Clock(device)
    spec, depth = backbone.spec, len(backbone.flat_blocks())
    grids = spec.grids(tuple(images.shape[-2:]))
    with _hooked(backbone, clock):
        clock.read()
        model(images)
        clock.read(('head', depth - 1))
    for (part, index), seconds in clock.seconds().items():
        height, wide = grids[index]
        widths = attention_width(spec.arch, spec.blocks[index]), spec.blocks[index].ffn_dim
        width = dict(zip(WIDE, widths)).get(part)
        kind = '' if part in ('stem', 'head') else spec.arch.alike(index, part)
        samples[part, kind, height * wide + backbone.num_cls, width].append(seconds)


@contextmanager
def _hooked(backbone: Backbone, clock: _Clock) -> Iterator[None]:
    """Let ``clock`` be read between the parts of a backbone. The norm before an FFN counts as attention's."""
    spec, hooks, current = backbone.spec, [], [0]

    def entered(index: int) -> str:
        if index == 0:
            return 'stem'
        if spec.merge_before(index) is not None:
            return 'merge'
        return 'enter' if spec.arch.enters(index) else 'attention'

    def before(index: int, *_: Any) -> None:
        current[0] = index
        clock.read((entered(index), index))

    def mapped(output: Any) -> Tensor:
        result = make_map(output)
        clock.read(('map', current[0]))
        return result

    make_map = backbone._map
    backbone._map = mapped
    for index, block in enumerate(backbone.flat_blocks()):
        hooks += [block.register_forward_pre_hook(partial(before, index)),
                  block.mlp.register_forward_pre_hook(lambda *_, label=('attention', index): clock.read(label)),
                  block.register_forward_hook(lambda *_, label=('ffn', index): clock.read(label))]
    try:
        yield
    finally:
        del backbone._map
        for hook in hooks:
            hook.remove()


def _by_part(samples: dict[tuple, list[float]]) -> dict[str, Any]:
    """The medians in milliseconds, as a table has them."""
    ms: dict[str, Any] = {}
    for (part, kind, tokens, width), seconds in samples.items():
        by_tokens, value = ms.setdefault(part, {}).setdefault(kind, {}), 1000 * median(seconds)
        if width is None:
            by_tokens[tokens] = value
        else:
            by_tokens.setdefault(tokens, {})[width] = value
    return ms


def _watched(calls: dict[str, Callable[[], Any]], count: int, progress: Callable[[Measured], Any]
             ) -> dict[str, Callable[[], Any]]:
    """The calls, each of which tells ``progress`` when it is done."""
    begun, done = time.monotonic(), [0]

    def watched(call: Callable[[], Any]) -> None:
        call()
        done[0] += 1
        progress(Measured(done[0], count, (time.monotonic() - begun) / done[0] * (count - done[0])))

    return {name: partial(watched, call) for name, call in calls.items()}
