"""Compression without training: weighted merges, and a cut of channels that the others stand in for."""
import math
from collections.abc import Callable, Iterable, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import partial
from operator import attrgetter
from typing import Any

import torch
from torch import Tensor, nn

from cait_mm.errors import UserError
from cait_mm.latency.table import STEP, LatencyTable
from cait_mm.macs import backbone_cost, reduction
from cait_mm.models import Backbone, Classifier
from cait_mm.models.arguments import checked_whole
from cait_mm.models.base import LINEAR, backbone_inside
from cait_mm.models.checkpoint import Checkpoint
from cait_mm.pruning.calibrate import Calibration, add_calibrated_compactors, calibrate, fitting, in_own_basis
from cait_mm.pruning.compensate import RIDGE, compensate
from cait_mm.pruning.fold import PAD_TO, Folded, channel_scores, fold, padded, removable, with_folded
from cait_mm.pruning.plan import merges_for
from cait_mm.pruning.restoring import fit_restores
from cait_mm.pruning.scores import CALIBRATED, Score, batches_for, checked, name_of, scored
from cait_mm.pruning.search import MEASURES, Candidate, Looked, chosen, damages, hold_out, measure_of, search
from cait_mm.pruning.selection import BlockChannels, select
from cait_mm.spec import Spec, make_spec

Merges = Sequence[tuple[int | str, str]]
RESTORE = LINEAR
"""How maps are restored where nothing behind the backbone has learned to do without what merges take."""
Images = Iterable[Tensor | tuple[Tensor, Tensor]]
"""Batches (B, C, H, W), alone or with labels."""


@dataclass(frozen=True)
class Compression:
    """How a backbone is compressed without training.

    Args:
        target: The share of the dense MACs to save, merges included; 0 changes nothing. With ``latency`` the share of
            the dense model's time.
        merge: Where to merge, ``((4, 'horizontal'), (7, 'vertical'))``. None keeps the model's merges, and chooses
            some for the target (:func:`~cait_mm.pruning.plan.merges_for`) where it has none.
        align, pad_to: As in :func:`~cait_mm.pruning.selection.select` and :func:`~cait_mm.pruning.fold.fold`.
        weighted: Weigh the tokens that new merges fuse (:func:`~cait_mm.ops.token_merge.weigh`); False takes their
            mean.
        proportional: Let tokens of weighted merges count in attention as often as they have patches.
        ridge: As in :func:`~cait_mm.pruning.compensate.predict_cut`; infinite leaves the mean of what was cut.
        restore_mode: Of the maps of :func:`compress_inside`. None is :data:`RESTORE` where merges are put in, and what
            the backbone has otherwise.
        search: How many placements of merges to judge by their damage (:mod:`~cait_mm.pruning.search`); 0 takes the
            planner's.
        score: By what channels are judged: a name of :data:`~cait_mm.pruning.scores.SCORES`, or a function like them.
            ``calibrated`` changes the basis of attention first (:mod:`~cait_mm.pruning.calibrate`).
        latency: The budget is one of time by this table: channels go by the score that they lose per millisecond.

    Raises:
        UserError: ``search`` is no whole number, ``merge`` is given too, the score is unknown, or widths are to be
            padded otherwise than the table knows.
    """

    target: float
    merge: Merges | None = None
    align: int = 1
    pad_to: int = PAD_TO
    weighted: bool = True
    proportional: bool = True
    ridge: float = RIDGE
    restore_mode: str | None = None
    search: int = 0
    score: str | Score = CALIBRATED
    latency: LatencyTable | None = None

    def __post_init__(self) -> None:
        checked(self.score)
        if self.latency is not None and (not self.pad_to or self.pad_to % STEP):
            raise UserError(f'`pad_to={self.pad_to}`: a latency table has widths in multiples of {STEP}; pad to one.')
        if checked_whole('search', self.search, 0) and self.merge is not None:
            raise UserError('`search` looks for the places to merge, and `merge` or the config names them: give one of '
                            'them.')

    @property
    def changes_nothing(self) -> bool:
        return self.target == 0 and not self.merge

    def budget(self, saved: Callable[[Spec], float]) -> Callable[[Spec], float]:
        """What a spec saves of the latency table's time, or without a table what ``saved`` says."""
        return saved if self.latency is None else lambda spec: self.latency.saved(padded(spec, self.pad_to))


def compress(model: Classifier, images: Images, target: float, merge: Merges | None = None,
             align: int = 1, pad_to: int = PAD_TO, weighted: bool = True, proportional: bool = True,
             ridge: float = RIDGE, search: int = 0, score: str | Score = CALIBRATED,
             latency: LatencyTable | None = None,
             progress: Callable[[Looked], None] | None = None) -> Classifier:
    """Merge tokens and cut channels of a pretrained classifier without training.

    Args:
        model: At full width; it stays as it is.
        images: Batches (B, C, H, W) to calibrate on, normalised as in training. Some dozens of images are enough,
            labels are not needed. A score that differentiates the task's loss takes labels where batches are pairs
            ``(images, labels)``, and the predictions of ``model`` where they are not.
        target, merge, align, pad_to, weighted, proportional, ridge, search, score, latency: See :class:`Compression`.
        progress: Called after every candidate of a search.

    Returns:
        A classifier that can be saved (:meth:`~cait_mm.models.classifier.Classifier.save`) or trained further.

    Raises:
        UserError: The model is pruned already, the images do not fit, or the target is out of reach.
    """
    how = Compression(target, merge, align, pad_to, weighted, proportional, ridge, search=search, score=score,
                      latency=latency)
    if latency is not None:
        latency.require(model.spec.arch, model.backbone.img_size)
    folded, provenance = compress_backbone(model.backbone, images, how, how.budget(reduction),
                                           partial(with_folded, model), progress)
    return with_folded(model, folded, **provenance)


def compress_backbone(backbone: Backbone, images: Images, how: Compression,
                      saved: Callable[[Spec], float] = reduction, around: Callable[[Folded], nn.Module] | None = None,
                      progress: Callable[[Looked], None] | None = None) -> tuple[Folded, dict[str, Any]]:
    """Merge tokens and cut channels of a pretrained backbone without training.

    Args:
        backbone: At full width; it stays as it is.
        images: As in :func:`compress`.
        how: The kind and amount of compression.
        saved: The share of the budget that a spec saves; by default of the classifier's MACs.
        around: The model that a search judges and that a score differentiates, around a folded backbone; by default
            the backbone alone.
        progress: Called after every candidate of a search.

    Returns:
        The folded copy, and how it came about, in plain types.

    Raises:
        UserError: As :func:`compress`.
    """
    if backbone.spec.is_pruned:
        raise UserError(f'`model`: this {backbone.arch.name} is pruned already, give the dense one.')
    images = list(images) if how.search else images
    around = around or attrgetter('backbone')
    folded, count = _compressed(backbone, images, how, saved, around)
    provenance = dict(target=how.target, start=name_of(how.score), calibration_images=count, **_timed(how, folded))
    if not how.search:
        return folded, provenance

    def real(spec: Spec) -> float:
        return saved(padded(spec, how.pad_to))

    # Zeros that pad widths may leave the planner's model below the target. Others have to save as much as it does, and
    # with their zeros, so that all are compared at equal cost.
    goal = min(how.target, real(folded.spec))
    best, record = _searched(backbone, images, replace(how, target=goal), real, around,
                             _wanted(backbone, replace(how, weighted=False), saved), progress)
    if best.number > 1:
        folded, _ = _compressed(backbone, images, replace(how, search=0, merge=best.merges, target=goal), real,
                                 around)
    return folded, dict(provenance, search=record, **_timed(how, folded))


def _compressed(backbone: Backbone, images: Images, how: Compression, saved: Callable[[Spec], float],
                around: Callable[[Folded], nn.Module]) -> tuple[Folded, int]:
    """The folded copy, and the number of images behind it."""
    merged = _merged(backbone, how, saved)
    calibration = _calibration(backbone, merged, images, how.score, around)
    add_calibrated_compactors(merged, calibration)
    scores = channel_scores(merged)
    if how.latency is None:
        masks = select(merged.spec, scores, how.target, align=how.align, saved=saved)
    else:
        masks = select(merged.spec, _losses(calibration, how.score), how.target, align=math.lcm(how.align, STEP),
                       saved=saved, price=how.latency.price(merged.spec))
    folded = fold(merged, masks, tolerance=None, pad_to=how.pad_to)
    cut = [removable(mask, score, merged.arch.planes) for mask, score in zip(masks, scores)]
    compensate(folded.backbone, merged, cut, calibration.ffn, calibration.values, how.ridge)
    return folded, calibration.images


def _losses(calibration: Calibration, score: str | Score) -> list[BlockChannels]:
    """What is lost with every channel, in a measure that adds up: the square of a contribution, or a score."""
    if score != CALIBRATED:
        return calibration.scores
    return [block.map(torch.square) for block in calibration.scores]


def _timed(how: Compression, folded: Folded) -> dict[str, Any]:
    """The predicted times of a compression by a latency table, in plain types."""
    return {} if how.latency is None else {'latency': how.latency.prediction(folded.spec)}


def _calibration(backbone: Backbone, merged: Backbone, images: Images, score: str | Score,
                 around: Callable[[Folded], nn.Module]) -> Calibration:
    """The channels of ``merged``, whose basis changes where the score wants that, and what compensating them needs."""
    if score == CALIBRATED:
        return calibrate(merged, map(_alone, images))
    images = list(images)
    alone = list(fitting(map(_alone, images), merged.arch))
    dense, model = (around(Folded(deepcopy(part), part.spec, 0.)) for part in (backbone, merged))
    return in_own_basis(merged, alone, scored(score, model, batches_for(score, dense, images)))


def _alone(batch: Tensor | tuple[Tensor, Tensor]) -> Tensor:
    """Images without their labels."""
    return batch[0] if isinstance(batch, tuple) else batch


def _searched(backbone: Backbone, images: list[Tensor], how: Compression, saved: Callable[[Spec], float],
              around: Callable[[Folded], nn.Module], rule: Spec,
              progress: Callable[[Looked], None] | None) -> tuple[Candidate, dict[str, Any]]:
    """The candidate that a search chooses, and the search in plain types."""
    if backbone.spec.merges or backbone.spec.tokens:
        raise UserError(f'`search`: this {backbone.arch.name} has merges, and they stay: give one without.')
    if any(isinstance(batch, tuple) for batch in images):
        raise UserError('`search` judges without labels: give the images alone.')
    calibrating, judged = hold_out(images)
    dense = around(Folded(deepcopy(backbone), backbone.spec, 0.))
    measure = measure_of(dense, judged[0][:1])
    answer, _ = MEASURES[measure]
    wanted = [answer(dense, batch) for batch in judged]

    def judge(spec: Spec) -> tuple[float, Tensor]:
        own = replace(how, search=0, merge=spec.merges)
        if saved(spec) >= how.target:  # nothing is cut
            folded = Folded(_merged(backbone, own, saved), spec, 0.)
        else:
            folded, _ = _compressed(backbone, calibrating, own, saved, around)
        return saved(folded.spec), damages(around(folded), judged, wanted, measure)

    ranked = search(rule, judge, how.search, how.target, saved, len(backbone.flat_blocks()), progress)
    best = chosen(ranked)
    return best, dict(images=sum(map(len, judged)), held_out=judged is not calibrating,
                      measure=measure, chosen=best.number, candidates=[candidate.to_dict() for candidate in ranked])


def compress_inside(model: nn.Module, images: Images, how: Compression,
                    img_size: tuple[int, int], progress: Callable[[Looked], None] | None = None,
                    ) -> tuple[nn.Module, Folded, dict[str, Any]]:
    """Compress the one backbone that a segmentor, detector or any other module holds; everything else is copied.

    The target is reached with the zeros that pad widths counted: no other part of the model hides what they cost.
    Unless ``how`` says otherwise, maps of merged tokens are restored with what the merges took away, because nothing
    behind the backbone has learned to do without.

    Args:
        model: Trained, its backbone at full width; it stays as it is.
        images, how: As in :func:`compress_backbone`.
        img_size: Pixels (H, W) of the images whose MACs count, those of the backbone alone.
        progress: Called after every candidate of a search.

    Returns:
        The copy in eval mode, its folded backbone, and how it came about, in plain types.

    Raises:
        UserError: As :func:`compress`, or the model holds no backbone of this package, or several.
    """
    backbone = backbone_inside(model)

    def mode(spec: Spec) -> str:
        added = spec.merges and not backbone.spec.merges
        return how.restore_mode or (RESTORE if added else backbone.restore_mode)

    def around(folded: Folded) -> nn.Module:
        if folded.backbone.restore_mode != mode(folded.spec):
            folded.backbone.set_restore_mode(mode(folded.spec))
            alone = (batch[0] if isinstance(batch, tuple) else batch for batch in images)
            fit_restores(folded.backbone, backbone, alone, how.ridge)
        return deepcopy(model, {id(backbone): folded.backbone}).eval()

    if how.changes_nothing:
        folded, provenance = Folded(deepcopy(backbone), backbone.spec, 0.), dict(target=0.)
    else:
        if how.latency is not None:
            how.latency.require(backbone.arch, img_size, backbone.output_blocks())
        images, saved = list(images), encoder_saving(backbone, img_size, mode)
        folded, provenance = compress_backbone(
            backbone, images, how, how.budget(lambda spec: saved(padded(spec, how.pad_to))), around, progress)
        provenance.update(selected_reduction=saved(folded.selected), largest_cut=folded.largest_cut)
    return around(folded), folded, provenance


def encoder_saving(backbone: Backbone, img_size: tuple[int, int],
                   mode: Callable[[Spec], str] = lambda spec: 'nearest') -> Callable[[Spec], float]:
    """The share of a backbone's own MACs, on images of ``img_size`` (H, W), that a spec saves: of the blocks that are
    built, and of restoring maps by ``mode``, without a classifier.
    """
    with_cls = backbone.num_cls == backbone.arch.prefix_tokens()

    def macs(spec: Spec) -> float:
        blocks = backbone_cost(spec, img_size, with_cls, len(backbone.flat_blocks())).macs
        return blocks + backbone.restore_macs(spec, img_size, mode(spec))

    dense = macs(Spec.dense(backbone.arch))
    return lambda spec: 1 - macs(spec) / dense


def _merged(backbone: Backbone, how: Compression, saved: Callable[[Spec], float]) -> Backbone:
    """A full-width copy with the merges that are wanted."""
    merged = with_merges(backbone, _wanted(backbone, how, saved))
    if not how.proportional:
        for name, parameter in merged.named_parameters():
            if name.endswith('.proportion'):
                nn.init.zeros_(parameter)
    return merged


def with_merges(backbone: Backbone, spec: Spec) -> Backbone:
    """A copy of a full-width ``backbone`` with the merges of ``spec``, in eval mode; new ones start as means."""
    copy = deepcopy(backbone)
    copy.rebuild(spec)
    copy.load_checkpoint(Checkpoint('of the model', dict(backbone.state_dict()), backbone.spec, grid=backbone.grid))
    return copy.eval()


def _wanted(backbone: Backbone, how: Compression, saved: Callable[[Spec], float]) -> Spec:
    """Full widths with the merges to put in, before blocks that are built."""
    reducer = backbone.spec.tokens
    if how.merge and reducer:
        raise UserError(f'`merge`: this {backbone.arch.name} reduces tokens by {type(reducer).__name__}, and it stays: '
                        'leave merge out, or give a model without.')
    if backbone.spec.merges and how.merge is None or reducer:
        return backbone.spec
    if how.merge is not None:
        spec = make_spec(backbone.arch, how.merge)
    else:
        spec = merges_for(backbone.arch, how.target, saved)
    built = tuple(merge for block, merge in spec.placed.items() if block < len(backbone.flat_blocks()))
    spec = spec.replace(merges=built)
    return spec.weighted() if how.weighted and not backbone.spec.merges else spec
