"""Latency tables that are known in closed form."""
from collections.abc import Callable

from cait_mm.arch import get_arch
from cait_mm.latency.probes import probes, sites, widths_of
from cait_mm.latency.table import LatencyTable

Cost = Callable[[int, int], float]
"""Milliseconds from tokens and width."""


def linear(tokens: int, width: int) -> float:
    return 0.01 * tokens + 0.001 * tokens * width


def steps_of(width: int) -> Cost:
    """A device on which a width costs what the next multiple does."""
    return lambda tokens, own: linear(tokens, -(-own // width) * width)


def table_of(arch, img_size=None, attention: Cost = linear, ffn: Cost = linear, other: float = 1.,
             outputs: tuple[int, ...] | None = None) -> LatencyTable:
    """A table of a classifier, or of a backbone with maps of ``outputs``, whose parts besides attention and FFN cost
    ``other`` each.
    """
    arch = get_arch(arch)
    size, prefix = img_size or arch.img_size, arch.prefix_tokens()
    ms = {part: {} for part in ('stem', 'attention', 'ffn', 'merge', 'enter', 'map', 'head')}
    for spec in probes(arch, size, arch.depth, prefix):
        for index, both in enumerate(sites(spec, size, arch.depth, prefix)):
            for (part, kind, tokens), cost, widths in zip(both, (attention, ffn), widths_of(arch, index)):
                ms[part].setdefault(kind, {})[tokens] = {width: cost(tokens, width) for width in widths}
            for part in ('merge', 'enter', 'map'):
                ms[part].setdefault(arch.alike(index, part), {})[tokens] = other
            for part in ('stem', 'head'):
                ms[part].setdefault('', {})[tokens] = other
    return LatencyTable(arch, size, {'CPU': 'a made-up one', 'batch_size': 1}, ms, outputs, prefix)
