"""Compression without training: weighted merges, and a calibrated cut of channels that the others stand in for."""
from collections.abc import Iterable, Sequence

from torch import Tensor, nn

from cait_mm.errors import UserError
from cait_mm.models import Classifier, classifier_backbone
from cait_mm.models.checkpoint import Checkpoint
from cait_mm.pruning.calibrate import add_calibrated_compactors, calibrate
from cait_mm.pruning.compensate import RIDGE, compensate
from cait_mm.pruning.fold import PAD_TO, channel_scores, fold_classifier, removable
from cait_mm.pruning.plan import merges_for
from cait_mm.pruning.selection import select
from cait_mm.spec import Spec, make_spec


def compress(model: Classifier, images: Iterable[Tensor], target: float,
             merge: Sequence[tuple[int | str, str]] | None = None, align: int = 1, pad_to: int = PAD_TO,
             weighted: bool = True, proportional: bool = True, ridge: float = RIDGE) -> Classifier:
    """Merge tokens and cut channels of a pretrained classifier without training.

    Args:
        model: At full width; it stays as it is.
        images: Batches (B, C, H, W) to calibrate on, normalised as in training. Some dozens of images are enough,
            labels are not needed.
        target: The share of the dense classifier's MACs to save, merges included.
        merge: Where to merge, ``((4, 'horizontal'), (7, 'vertical'))``. None keeps the model's merges, and chooses
            some for the target (:func:`~cait_mm.pruning.plan.merges_for`) where it has none.
        align, pad_to: As in :func:`~cait_mm.pruning.selection.select` and :func:`~cait_mm.pruning.fold.fold`.
        weighted: Weigh the tokens that new merges fuse (:func:`~cait_mm.ops.token_merge.weigh`); False takes their
            mean.
        proportional: Let tokens of weighted merges count in attention as often as they have patches.
        ridge: As in :func:`~cait_mm.pruning.compensate.predict_cut`; infinite leaves the mean of what was cut.

    Returns:
        A classifier that can be saved (:meth:`~cait_mm.models.classifier.Classifier.save`) or trained further.

    Raises:
        UserError: The model is pruned already, the images do not fit, or the target is out of reach.
    """
    if model.spec.is_pruned:
        raise UserError(f'`model`: this {model.spec.arch.name} is pruned already, give the dense one.')
    if merge is not None:
        spec = make_spec(model.spec.arch, merge)
    else:
        spec = model.spec if model.spec.merges else merges_for(model.spec.arch, target)
    merged = _merged(model, spec.weighted() if weighted and not model.spec.merges else spec)
    spec = merged.spec
    if not proportional:
        for name, parameter in merged.named_parameters():
            if name.endswith('.proportion'):
                nn.init.zeros_(parameter)
    calibration = calibrate(merged.backbone, images)
    add_calibrated_compactors(merged.backbone, calibration)
    masks = select(spec, channel_scores(merged.backbone), target, align=align)
    small = fold_classifier(merged, masks, tolerance=None, pad_to=pad_to, target=target, start='calibrated',
                            calibration_images=calibration.images)
    cut = [removable(mask, score) for mask, score in zip(masks, channel_scores(merged.backbone))]
    compensate(small.backbone, merged.backbone, cut, calibration.ffn, calibration.values, ridge)
    return small


def _merged(model: Classifier, spec: Spec) -> Classifier:
    """A plain copy of ``model`` with the merges of ``spec``; new ones start as means."""
    backbone = classifier_backbone(spec, img_size=model.backbone.img_size).to(next(model.parameters()))
    copy = Classifier(backbone, model.num_classes, model.provenance).to(next(model.parameters()))
    weights = {name.removeprefix('backbone.'): value for name, value in model.state_dict().items()}
    copy.load_checkpoint(Checkpoint('of the model', weights, model.spec, grid=model.backbone.grid))
    return copy.eval()
