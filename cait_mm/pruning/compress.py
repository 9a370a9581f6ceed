"""Compression without training: weighted merges, and a calibrated cut of channels that the others stand in for."""
from collections.abc import Callable, Iterable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from cait_mm.errors import UserError
from cait_mm.macs import backbone_cost, reduction
from cait_mm.models import Backbone, Classifier
from cait_mm.models.checkpoint import Checkpoint
from cait_mm.pruning.calibrate import add_calibrated_compactors, calibrate
from cait_mm.pruning.compensate import RIDGE, compensate
from cait_mm.pruning.fold import PAD_TO, Folded, channel_scores, fold, padded, removable, with_folded
from cait_mm.pruning.plan import merges_for
from cait_mm.pruning.selection import select
from cait_mm.spec import Spec, make_spec

Merges = Sequence[tuple[int | str, str]]


@dataclass(frozen=True)
class Compression:
    """How a backbone is compressed without training.

    Args:
        target: The share of the dense MACs to save, merges included; 0 changes nothing.
        merge: Where to merge, ``((4, 'horizontal'), (7, 'vertical'))``. None keeps the model's merges, and chooses
            some for the target (:func:`~cait_mm.pruning.plan.merges_for`) where it has none.
        align, pad_to: As in :func:`~cait_mm.pruning.selection.select` and :func:`~cait_mm.pruning.fold.fold`.
        weighted: Weigh the tokens that new merges fuse (:func:`~cait_mm.ops.token_merge.weigh`); False takes their
            mean.
        proportional: Let tokens of weighted merges count in attention as often as they have patches.
        ridge: As in :func:`~cait_mm.pruning.compensate.predict_cut`; infinite leaves the mean of what was cut.
        restore_mode: Of the maps of :func:`compress_inside`. None is ``residual`` where merges are put in, and what the
            backbone has otherwise.
    """

    target: float
    merge: Merges | None = None
    align: int = 1
    pad_to: int = PAD_TO
    weighted: bool = True
    proportional: bool = True
    ridge: float = RIDGE
    restore_mode: str | None = None

    @property
    def changes_nothing(self) -> bool:
        return self.target == 0 and not self.merge


def compress(model: Classifier, images: Iterable[Tensor], target: float, merge: Merges | None = None,
             align: int = 1, pad_to: int = PAD_TO, weighted: bool = True, proportional: bool = True,
             ridge: float = RIDGE) -> Classifier:
    """Merge tokens and cut channels of a pretrained classifier without training.

    Args:
        model: At full width; it stays as it is.
        images: Batches (B, C, H, W) to calibrate on, normalised as in training. Some dozens of images are enough,
            labels are not needed.
        target, merge, align, pad_to, weighted, proportional, ridge: See :class:`Compression`.

    Returns:
        A classifier that can be saved (:meth:`~cait_mm.models.classifier.Classifier.save`) or trained further.

    Raises:
        UserError: The model is pruned already, the images do not fit, or the target is out of reach.
    """
    folded, provenance = compress_backbone(model.backbone, images, Compression(
        target, merge, align, pad_to, weighted, proportional, ridge))
    return with_folded(model, folded, **provenance)


def compress_backbone(backbone: Backbone, images: Iterable[Tensor], how: Compression,
                      saved: Callable[[Spec], float] = reduction) -> tuple[Folded, dict[str, Any]]:
    """Merge tokens and cut channels of a pretrained backbone without training.

    Args:
        backbone: At full width; it stays as it is.
        images: As in :func:`compress`.
        how: The kind and amount of compression.
        saved: The share of the MACs that a spec saves; by default that of the classifier.

    Returns:
        The folded copy, and how it came about, in plain types.

    Raises:
        UserError: As :func:`compress`.
    """
    if backbone.spec.is_pruned:
        raise UserError(f'`model`: this {backbone.arch.name} is pruned already, give the dense one.')
    merged = with_merges(backbone, _wanted(backbone, how, saved))
    if not how.proportional:
        for name, parameter in merged.named_parameters():
            if name.endswith('.proportion'):
                nn.init.zeros_(parameter)
    calibration = calibrate(merged, images)
    add_calibrated_compactors(merged, calibration)
    scores = channel_scores(merged)
    masks = select(merged.spec, scores, how.target, align=how.align, saved=saved)
    folded = fold(merged, masks, tolerance=None, pad_to=how.pad_to)
    cut = [removable(mask, score, merged.arch.planes) for mask, score in zip(masks, scores)]
    compensate(folded.backbone, merged, cut, calibration.ffn, calibration.values, how.ridge)
    return folded, dict(target=how.target, start='calibrated', calibration_images=calibration.images)


def compress_inside(model: nn.Module, images: Iterable[Tensor], how: Compression,
                    img_size: tuple[int, int]) -> tuple[nn.Module, Folded, dict[str, Any]]:
    """Compress the one backbone that a segmentor, detector or any other module holds; everything else is copied.

    The target is reached with the zeros that pad widths counted: no other part of the model hides what they cost.
    Unless ``how`` says otherwise, maps of merged tokens are restored with what the merges took away, because nothing
    behind the backbone has learned to do without.

    Args:
        model: Trained, its backbone at full width; it stays as it is.
        images, how: As in :func:`compress_backbone`.
        img_size: Pixels (H, W) of the images whose MACs count, those of the backbone alone.

    Returns:
        The copy in eval mode, its folded backbone, and how it came about, in plain types.

    Raises:
        UserError: As :func:`compress`, or the model holds no backbone of this package, or several.
    """
    backbone = backbone_inside(model)
    if how.changes_nothing:
        folded, provenance = Folded(deepcopy(backbone), backbone.spec, 0.), dict(target=0.)
    else:
        saved = encoder_saving(backbone, img_size)
        folded, provenance = compress_backbone(backbone, images, how, lambda spec: saved(padded(spec, how.pad_to)))
        provenance.update(selected_reduction=saved(folded.selected), largest_cut=folded.largest_cut)
    added = folded.spec.merges and not backbone.spec.merges
    folded.backbone.restore_mode = how.restore_mode or ('residual' if added else backbone.restore_mode)
    return deepcopy(model, {id(backbone): folded.backbone}).eval(), folded, provenance


def backbone_inside(model: nn.Module) -> Backbone:
    """The one backbone of this package in ``model``.

    Raises:
        UserError: There is none, or there are several.
    """
    found = [module for module in model.modules() if isinstance(module, Backbone)]
    if len(found) != 1:
        raise UserError(f'`model`: {type(model).__name__} holds {len(found) or "no"} backbones of cait_mm, and one is '
                        'wanted: CAITDeiT, CAITLVViT, CAITSwin or CAITViT.')
    return found[0]


def encoder_saving(backbone: Backbone, img_size: tuple[int, int]) -> Callable[[Spec], float]:
    """The share of a backbone's own MACs, on images of ``img_size`` (H, W), that a spec saves: of the blocks that are
    built, without a classifier.
    """
    with_cls = backbone.num_cls == backbone.arch.prefix_tokens()

    def macs(spec: Spec) -> float:
        return backbone_cost(spec, img_size, with_cls, len(backbone.flat_blocks())).macs

    dense = macs(Spec.dense(backbone.arch))
    return lambda spec: 1 - macs(spec) / dense


def with_merges(backbone: Backbone, spec: Spec) -> Backbone:
    """A copy of a full-width ``backbone`` with the merges of ``spec``, in eval mode; new ones start as means."""
    copy = deepcopy(backbone)
    copy.rebuild(spec)
    copy.load_checkpoint(Checkpoint('of the model', dict(backbone.state_dict()), backbone.spec, grid=backbone.grid))
    return copy.eval()


def _wanted(backbone: Backbone, how: Compression, saved: Callable[[Spec], float]) -> Spec:
    """Full widths with the merges to put in, before blocks that are built."""
    if how.merge is not None:
        spec = make_spec(backbone.arch, how.merge)
    elif backbone.spec.merges:
        return backbone.spec
    else:
        spec = merges_for(backbone.arch, how.target, saved)
    built = tuple(merge for block, merge in spec.placed.items() if block < len(backbone.flat_blocks()))
    spec = spec.replace(merges=built)
    return spec.weighted() if how.weighted and not backbone.spec.merges else spec
