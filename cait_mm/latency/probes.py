"""Which models to time for a table: every width at every number of tokens that merges leave, in as few as possible."""
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from operator import itemgetter
from typing import NamedTuple

from cait_mm.arch import Arch
from cait_mm.errors import UserError
from cait_mm.latency.table import STEP, WIDE, attention_width, of_width
from cait_mm.spec import Merge, Spec, make_spec
from cait_mm.tokens.atme import ALTERNATING, even_placement

MOST_MERGES = 4
"""Four leave a sixteenth of the tokens; the times of fewer follow from the line through the last two."""
FFN_WIDTHS = 8
"""Widths of an FFN, evenly spread, next to the narrowest."""


class Site(NamedTuple):
    """Where parts that differ in their widths alone stand: what they are, of which blocks, and with how many tokens."""

    part: str
    kind: str
    tokens: int


def probes(arch: Arch, img_size: tuple[int, int], depth: int, prefix: int) -> list[Spec]:
    """The dense model, and models that together have every width to measure at every site, and every number of merges.

    A model has other widths in every block, so that one forward pass measures many.

    Args:
        arch: The dense architecture.
        img_size: Pixels (H, W) of the images.
        depth: Blocks that are built.
        prefix: Tokens in front of the grid.
    """
    placements = [(spec, sites(spec, img_size, depth, prefix)) for spec in _placements(arch, depth)]
    seen: dict[Site, Counter] = {}
    for _, places in placements:
        for block, both in enumerate(places):
            for site, widths in zip(both, widths_of(arch, block)):
                seen.setdefault(site, Counter(dict.fromkeys(widths, 0)))
    chosen = [placements[0][0]]

    def choose(candidates: Sequence[tuple[Spec, Sequence[tuple[Site, Site]]]]) -> int:
        """Take the candidate with the most widths that are new; how many these are."""
        spec, taken, new = max((_filled(*candidate, seen) for candidate in candidates), key=itemgetter(2))
        if new or len(candidates) == 1:
            chosen.append(spec)
            for site, widths in taken.items():
                seen[site].update(widths)
        return new

    for placement in placements:
        choose([placement])
    while choose(placements):
        pass
    return chosen


def sites(spec: Spec, img_size: tuple[int, int], depth: int, prefix: int) -> list[tuple[Site, Site]]:
    """The sites of attention and FFN of the blocks of ``spec`` that are built."""
    return [tuple(Site(part, spec.arch.alike(block, part), height * width + prefix) for part in WIDE)
            for block, (height, width) in enumerate(spec.grids(img_size)[:depth])]


def widths_of(arch: Arch, block: int) -> tuple[list[int], list[int]]:
    """The widths to measure of an attention per head, in steps of :data:`STEP`, and of an FFN; the dense ones too."""
    dense = arch.dense_block(block)
    full = attention_width(arch, dense)
    heads = [] if {'q', 'v'} <= {*arch.whole} else range(STEP, full + STEP, STEP)
    hidden = [] if 'ffn' in arch.whole else [STEP, *(round(part * dense.ffn_dim / FFN_WIDTHS / STEP) * STEP
                                                     for part in range(1, FFN_WIDTHS))]
    return sorted({*heads, full}), sorted({width for width in hidden if 0 < width < dense.ffn_dim} | {dense.ffn_dim})


def _placements(arch: Arch, depth: int) -> Iterator[Spec]:
    """No merge, one, two, ..., evenly spread over the blocks that are built and weighted, as compression puts them in.
    """
    blocks = [block for block in arch.merge_blocks if block < depth]
    yield make_spec(arch)
    for count in range(1, min(MOST_MERGES, len(blocks) - 1) + 1):
        try:
            yield make_spec(arch, [Merge(arch.block_name(blocks[place]), ALTERNATING[number % 2])
                                   for number, place in enumerate(even_placement(len(blocks), count))]).weighted()
        except UserError:  # the grid is too small for more
            return


def _filled(spec: Spec, places: Sequence[tuple[Site, Site]], seen: Mapping[Site, Counter]
            ) -> tuple[Spec, dict[Site, Counter], int]:
    """``spec`` with widths that are new at their sites, or the narrowest; these by site, and how many are new."""
    taken, blocks, new = defaultdict(Counter), list(spec.blocks), 0
    for index, both in enumerate(places):
        widths = []
        for site in both:
            before, now = seen[site], taken[site]
            fresh = [width for width in before if not before[width] + now[width]]
            new += bool(fresh)
            widths.append(max(fresh) if fresh else min(before))
            now[widths[-1]] += 1
        blocks[index] = replace(of_width(spec.arch, blocks[index], widths[0]), ffn_dim=widths[1])
    return spec.replace(blocks=tuple(blocks)), taken, new
