"""Channel scores: how much every channel matters, by the methods that the paper compares CDCP with.

A score is a function of a model and of batches of images with their targets (:mod:`~cait_mm.pruning.scores.task`), and
gives one value per channel of q, k, v and FFN. Selection, consistencies, budget, fold and compensation take any. A name
of :data:`SCORES` or a function can stand wherever a cut is made; ``functools.partial`` sets a score's own options.
``calibrated``, the default, is no function here: it changes the basis of every attention first
(:mod:`~cait_mm.pruning.calibrate`). All others keep the channels that the model has.
"""
from collections.abc import Callable, Iterable, Sequence
from copy import deepcopy
from functools import partial

from torch import Tensor, nn

from cait_mm.errors import UserError
from cait_mm.pruning.scores.lfs import lfs
from cait_mm.pruning.scores.magnitude import magnitude
from cait_mm.pruning.scores.nvit import nvit
from cait_mm.pruning.scores.s2vite import s2vite
from cait_mm.pruning.scores.savit import savit
from cait_mm.pruning.scores.task import Batch, labelled
from cait_mm.pruning.scores.taylor import taylor
from cait_mm.pruning.selection import BlockChannels

Score = Callable[[nn.Module, Sequence[Batch]], list[BlockChannels]]
"""From a module that holds one backbone of full width, which it may change, and labelled batches."""

CALIBRATED = 'calibrated'
SCORES: dict[str, Score] = {score.__name__: score for score in (magnitude, taylor, lfs, nvit, s2vite, savit)}
NAMES = (CALIBRATED, *SCORES)


def name_of(score: str | Score) -> str:
    """The name of a score in a record."""
    while isinstance(score, partial):
        score = score.func
    return score if isinstance(score, str) else getattr(score, '__name__', type(score).__name__)


def checked(score: str | Score) -> str | Score:
    """``score``.

    Raises:
        UserError: It is neither a known name nor a function.
    """
    if not (callable(score) or score in NAMES):
        raise UserError(f'`score={score!r}`: it has to be one of {", ".join(NAMES)}, or a function from a model and '
                        'batches of (images, targets) to the values of every block\'s channels.')
    return score


def batches_for(score: str | Score, dense: nn.Module, images: Iterable[Tensor | tuple[Tensor, Tensor]]) -> list[Batch]:
    """What ``score`` looks at: :func:`~cait_mm.pruning.scores.task.labelled` images; without targets where it needs no
    loss, so that models without logits have it too.

    Raises:
        UserError: As :func:`~cait_mm.pruning.scores.task.labelled`.
    """
    if SCORES.get(score, score) is magnitude:
        return [(batch[0] if isinstance(batch, tuple) else batch, []) for batch in images]
    return labelled(dense, images)


def scored(score: str | Score, model: nn.Module, batches: Sequence[Batch]) -> list[BlockChannels]:
    """The values of ``score``, one entry per block; ``model`` stays as it is.

    Raises:
        UserError: A value is not finite, or the model cannot be scored.
    """
    values = SCORES.get(score, score)(deepcopy(model).eval(), batches)
    if not all(part.isfinite().all() for block in values for _, part in block.items()):
        raise UserError(f'`score`: {name_of(score)} gives values that are not finite: are the images normalised, and '
                        'the weights trained?')
    return [block.map(lambda part: part.detach()) for block in values]
