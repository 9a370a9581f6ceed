"""Where to merge for a wanted reduction (paper, section III-B: spread evenly, then move by one block)."""
from collections.abc import Callable, Iterator, Sequence
from functools import partial

from cait_mm.arch import Arch, get_arch
from cait_mm.errors import UserError
from cait_mm.macs import reduction
from cait_mm.spec import Merge, Spec, make_spec
from cait_mm.tokens.atme import ALTERNATING, even_placement

TOLERANCE = 0.02
"""A plan further than this from its target is refused where nothing makes up for the rest."""
PAPER_MERGES = {
    'deit_tiny': ((4, 'horizontal'), (8, 'vertical')),
    'deit_small': ((4, 'horizontal'), (7, 'vertical')),
    'deit_base': ((4, 'horizontal'), (7, 'vertical')),
    'swin_tiny': (('2.4', 'horizontal'), ('2.5', 'vertical')),
    'swin_small': (('2.7', 'horizontal'), ('2.12', 'vertical')),
}
"""Merges of the paper's compressed models."""
TIMM_ENDING = '_patch16_224'
"""What timm adds to the names of DeiT."""
PAPER_RANGE = 0.2
"""Where the target exceeds the savings of the paper's merges by more than this, merges are planned instead."""
MERGING_SHARE = 0.8
"""The share of merging in a target that is far from the paper's; in the paper, too, merging gives most of it."""


def merges_for(arch: str | Arch, target: float, saved: Callable[[Spec], float] = reduction) -> Spec:
    """Full widths with the merges to compress ``arch`` by ``target`` of its MACs; cutting channels does the rest.

    They are the paper's where these save less than the target, and not by more than ``PAPER_RANGE``; otherwise they are
    planned to come near to ``MERGING_SHARE`` of it. Where already one merge saves more than the target, there is none.

    Args:
        arch: The dense architecture.
        target: The share of the MACs to save.
        saved: How much a spec saves; by default of the classifier's MACs.

    Raises:
        UserError: The target is no share, or the grid is too small to merge.
    """
    arch = get_arch(arch)
    known = PAPER_MERGES.get(arch.name.removesuffix(TIMM_ENDING), ())
    paper = make_spec(arch, known if known and arch == get_arch(arch.name) else ())
    if paper.merges and saved(paper) < target < saved(paper) + PAPER_RANGE:
        return paper
    planned = plan(arch, MERGING_SHARE * target, tolerance=1., saved=saved)
    return planned if saved(planned) <= target else Spec.dense(arch)


def plan(arch: str | Arch,
         target: float,
         img_size: None | tuple[int, int] = None,
         kinds: Sequence[str] = ALTERNATING,
         tolerance: float = TOLERANCE,
         saved: Callable[[Spec], float] | None = None,
         shown: Callable[[float], str] = 'a reduction of {:.1%}'.format) -> Spec:
    """Place merges so that the MACs fall by ``target``.

    The number of merges is the one whose even placement comes nearest. From there the single move of one merge by one
    block that brings the MACs nearest to the target is taken, and again, until none brings them nearer; a merge stays
    within one block of its even place.

    Args:
        arch: The dense architecture.
        target: The wanted reduction of all MACs, between 0 and 1.
        img_size: Pixels (H, W) to plan for; None is the pretraining size.
        kinds: Merge kinds in turn: horizontal and vertical alternate in ATME.
        tolerance: How far from the target a placement may be.
        saved: The share of the MACs that a spec saves; None is that of the classifier on ``img_size``. A share of time
            (:meth:`~cait_mm.latency.table.LatencyTable.saved`) makes ``target`` one of time too.
        shown: A share in words, for errors.

    Raises:
        UserError: No placement comes within ``tolerance`` of the target; the message names the nearest.
    """
    arch, saved = get_arch(arch), saved or partial(reduction, img_size=img_size)
    if not 0 < target < 1:
        raise UserError(f'`target={target}` is not a reduction: give the share of MACs to save, between 0 and 1, for '
                        'example 0.433.')
    even = list(_even_specs(arch, kinds))
    if not even:
        raise UserError(f'{arch.name} at {arch.img_size} has a grid too small to merge.')

    def gap(spec: Spec) -> float:
        return abs(saved(spec) - target)

    # Behind the first that saves enough, more merges can only come near again where they save no time any more.
    enough = next((count for count, spec in enumerate(even, 1) if saved(spec) >= target), len(even))
    start = min(even[:enough], key=gap)
    best, reached = start, set(map(saved, even))
    while True:
        moves = list(_single_moves(best, start, kinds))
        reached.update(map(saved, moves))
        nearest = min(moves, key=gap, default=best)
        if gap(nearest) >= gap(best):
            break
        best = nearest
    if gap(best) > tolerance:
        least, most, nearest = (shown(share).split()[-1] for share in (min(reached), max(reached), saved(best)))
        raise UserError(f'no placement of merges in {arch.name} reaches {shown(target)}: merging alone was seen to '
                        f'reach {least} to {most}, nearest {nearest}; choose such a target, or prune channels for the '
                        'rest.')
    return best


def _spec(arch: Arch, blocks: Sequence[int], kinds: Sequence[str]) -> Spec:
    return make_spec(arch, [Merge(arch.block_name(block), kinds[i % len(kinds)]) for i, block in enumerate(blocks)])


def _even_specs(arch: Arch, kinds: Sequence[str]) -> Iterator[Spec]:
    blocks = arch.merge_blocks
    for count in range(1, len(blocks)):
        try:
            yield _spec(arch, [blocks[place] for place in even_placement(len(blocks), count)], kinds)
        except UserError:
            return


def _single_moves(spec: Spec, start: Spec, kinds: Sequence[str]) -> Iterator[Spec]:
    """Every placement with one merge of ``spec`` moved by one block, within one block of ``start``."""
    blocks, home = (list(merged.placed) for merged in (spec, start))
    for index in range(len(blocks)):
        for step in (-1, 1):
            moved = [*blocks[:index], blocks[index] + step, *blocks[index + 1:]]
            allowed = abs(moved[index] - home[index]) <= 1 and moved[index] in spec.arch.merge_blocks
            if allowed and len(set(moved)) == len(moved):
                yield _spec(spec.arch, sorted(moved), kinds)
