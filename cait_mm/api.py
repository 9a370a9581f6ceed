"""The front door: load a classifier, measure what its parts cost, compress it or prune it while it is trained, tune the
compressed one, summarise the changes, take its backbone.
"""
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from torch import nn

from cait_mm.arch import Arch, is_arch_name
from cait_mm.errors import UserError
from cait_mm.latency.cache import budget, measured
from cait_mm.latency.measure import SECONDS, Measured
from cait_mm.latency.table import LatencyTable
from cait_mm.models.base import Backbone, backbone_inside
from cait_mm.models.carried import spec_to_load, stated_size
from cait_mm.models.checkpoint import Checkpoint, read_checkpoint
from cait_mm.models.classifier import LOGGER, Classifier, load_classifier
from cait_mm.models.families import FAMILIES
from cait_mm.models.summary import summary
from cait_mm.pruning.cdcp import CDCP
from cait_mm.pruning.compensate import RIDGE
from cait_mm.pruning.compress import Compression, compress_inside
from cait_mm.pruning.compress import compress as cut_without_training
from cait_mm.pruning.fold import PAD_TO
from cait_mm.pruning.imitate import (
    imitate_classifier,
    imitate_module,
    require_logits,
    require_same_classes,
    unlike,
)
from cait_mm.pruning.scores import CALIBRATED, Score
from cait_mm.pruning.tune import LR, MODULE_LR, Progress, Tuned
from cait_mm.pruning.tune import tune as tune_model
from cait_mm.tokens import TokenReducer
from cait_mm.utils.draws import draws_of
from cait_mm.utils.images import as_batches

__all__ = ['CDCP', 'backbone', 'compress', 'latency_table', 'load', 'summary', 'tune']

FilePath = str | os.PathLike
Model = str | os.PathLike | Arch | Mapping[str, Any]


def load(model: Model, weights: FilePath | None = None, *, merge: Sequence[tuple[int | str, str]] = (),
         tokens: None | TokenReducer | Mapping[str, Any] = None, num_classes: int | None = None,
         head_rows: Sequence[int] | None = None, new_head: bool = False, **options: Any) -> Classifier:
    """A classifier with pretrained weights, in eval mode: a plain ``nn.Module`` from images to logits.

    ``load('deit_small', 'deit_small.pth')`` reads official, timm's, Hugging Face's or OpenMMLab's weights
    (``docs/checkpoints.md``), ``load('small.pth')`` a compressed checkpoint, which describes itself.

    Args:
        model: The architecture: a name from :data:`cait_mm.arch.ARCHS`, timm's name of a plain ViT
            (``timm/vit_small_patch14_dinov2``), or its fields. A compressed checkpoint may stand here alone.
        weights: The file.
        merge: Merges to put in, as the mean of their tokens: ``((4, 'horizontal'), (7, 'vertical'))``. A compressed
            checkpoint has its own.
        tokens: Instead of merges: another token reducer, ``dict(type='EViT', keep=0.7)`` (:mod:`cait_mm.tokens`). What
            it learns starts doing nothing, or at random where a network decides (DynamicViT, dTPS).
        num_classes: Classes of the head; None is as many as the file's head or ``head_rows`` has.
        head_rows: Rows of the file's head to take, for a subset of its classes.
        new_head: Start a head of ``num_classes`` from random weights.
        options: Of the backbone, such as ``img_size``, ``in_channels``, ``drop_path_rate``
            (:class:`~cait_mm.models.deit.DeiT`, :class:`~cait_mm.models.vit.ViT`).

    Raises:
        UserError: The file cannot be read, or is not the model that is asked for.
    """
    arch, path = _arch_and_file(model, weights)
    return load_classifier(path, arch, merge, num_classes, head_rows, new_head, tokens, **options)


def latency_table(model: nn.Module, *, img_size: tuple[int, int] | None = None, batch_size: int = 1,
                  device: str = 'cpu', dtype: str = 'float32', seconds: float = SECONDS, again: bool = False,
                  progress: Callable[[Measured], None] | None = None) -> LatencyTable:
    """What the parts of a model cost on this machine, for :func:`compress`; tables are kept in the user's cache folder.

    ``table.save(path)`` writes it as JSON, for another machine; ``table.predict(spec)`` is the milliseconds of a spec.

    Args:
        model: Of full width: a classifier, or any module that holds one backbone of this package, whose maps are then
            timed as :func:`compress` restores them.
        img_size: Pixels (H, W) of the images; None is the model's.
        batch_size: Images at once.
        device: ``cpu``, with as many threads as PyTorch has now, or ``cuda``.
        dtype: Of weights and images: ``float32``, ``bfloat16`` or ``float16``.
        seconds: To spend on timing, roughly, after a first pass.
        again: Measure although a table is kept.
        progress: Called after every forward pass.

    Raises:
        UserError: The model is compressed already, or there is no such device.
    """
    return measured(model, img_size=img_size, batch_size=batch_size, device=device, dtype=dtype, seconds=seconds,
                    again=again, progress=progress)


def compress(model: nn.Module, images: Any, target: float | None = None, *, speedup: float | None = None,
             latency: None | FilePath | LatencyTable = None, merge: Sequence[tuple[int | str, str]] | None = None,
             align: int = 1, pad_to: int = PAD_TO, weighted: bool = True, proportional: bool = True,
             ridge: float = RIDGE, search: int = 0, score: str | Score = CALIBRATED, labels: bool = False,
             num_images: int = 64, tune: int = 0, **tuning: Any) -> nn.Module:
    """Merge tokens and cut channels of a trained model without training; it may learn from the dense one afterwards.

    Args:
        model: At full width; it stays as it is. A classifier as :func:`load` gives it, or a segmentor, a detector, any
            module that holds one backbone of this package.
        images: To calibrate on, without labels: a folder, or normalised tensors, or a loader of them
            (:func:`~cait_mm.utils.images.as_batches`).
        target: The share of the dense MACs to save, merges included: of a classifier's whole, of other models' backbone
            on images as large as the first one.
        speedup: Instead of ``target``: how many times as fast that is to be, by a table of measured times: merges and
            widths are then chosen by what they save of these.
        latency: The table (:func:`latency_table`), or the path of its JSON file. None measures this machine, for single
            images on the CPU, which takes a minute or two once.
        merge: Where to merge, ``((4, 'horizontal'), (7, 'vertical'))``. None keeps the model's merges, and chooses
            some for the target where it has none.
        align: Leave widths in multiples of this.
        pad_to: Zero-pad heads and FFNs to multiples of this, which fast kernels need; 0 leaves the widths as selected.
        weighted: Weigh the tokens that new merges fuse by how far they are from the mean token; False takes their
            mean, as the paper does at the start.
        proportional: Let tokens of weighted merges count in attention as often as they have patches.
        ridge: Of the regression by which channels that stay stand in for those that are cut; infinite keeps their
            means.
        search: How many placements of merges to try, the planner's first; half of the images judge their damage
            (:mod:`~cait_mm.pruning.search`), and another is taken where it is surely better. What each did is in
            ``provenance['search']`` of a classifier. 0 takes the planner's.
        score: By what channels are judged: ``calibrated``, ``magnitude``, ``taylor``, ``lfs``, ``nvit``, ``s2vite``,
            ``savit``, or a function like these (:mod:`~cait_mm.pruning.scores`). All but the first two differentiate
            the task's loss, with the model's own predictions as labels, and want a model whose call gives logits.
        labels: Let that loss take the labels of a loader of (images, labels) instead.
        num_images: How many images to calibrate on.
        tune: Steps without labels in which ``model`` teaches the small one, on all of the images (:func:`tune`); a
            loader is read a second time for them. What they gave is logged, and in a classifier's
            ``provenance['tuned']``.
        tuning: Of :func:`tune`: ``lr``, ``batch_size``, ``seed``, ``checkpoint``, ``progress``.

    Returns:
        A model of the same class: a classifier can be saved (:meth:`~cait_mm.models.classifier.Classifier.save`); all
        can be trained further.

    Raises:
        UserError: The model is pruned already, holds no backbone or cannot be tuned, the images do not fit, the target
            or the speed-up is out of reach, the latency table is of another model, the score is unknown or has no loss
            to differentiate, or both ``merge`` and ``search`` are given.
    """
    if not isinstance(model, Classifier):
        batches = list(as_batches(images, backbone_inside(model).img_size, num_images, labels))
        if not batches:
            raise UserError('there are no images to calibrate on: some dozens are enough, labels are not needed.')
        first = batches[0][0] if labels else batches[0]
        size = tuple(first.shape[-2:])
        target, table = budget(model, size, target, speedup, latency)
        how = Compression(target, merge, align, pad_to, weighted, proportional, ridge, search=search, score=score,
                          latency=table)
        if tune:
            require_logits(model, first[:1])
        small = compress_inside(model, batches, how, size)[0]
    else:
        target, table = budget(model, model.backbone.img_size, target, speedup, latency)
        small = cut_without_training(model, as_batches(images, model.backbone.img_size, num_images, labels), target,
                                     merge, align, pad_to, weighted, proportional, ridge, search, score, table)
    if tune:
        _tuned(small, model, images, tune, **tuning)
    return small


def tune(student: nn.Module, teacher: nn.Module, images: Any, steps: int, *, lr: float | None = None,
         batch_size: int | None = None, seed: int = 0, checkpoint: FilePath | None = None,
         progress: Callable[[Progress], None] | None = None) -> Tuned:
    """Let a dense model teach its compressed self, in place, on images without labels.

    A tenth of the images is held out and watched: the student never ends farther from its teacher on them than it
    began (:func:`cait_mm.pruning.tune.tune`).

    Args:
        student: The compressed model: a classifier, or any module that holds a backbone of this package and whose call
            gives logits (B, classes, ...) for images, or a list of them. MMSegmentation's models with one decode head
            do; its and MMDetection's other models are tuned by ``tools/compress.py --tune``.
        teacher: The dense one; it stays as it is.
        images: As in :func:`compress`. Some thousands, like those that the model will see: their kind decides.
        steps: Some hundreds.
        lr: Of the first step; None is 3e-5 for a classifier, 1e-4 for others.
        batch_size: Images in a step; None is 32 for a classifier, 4 for others.
        seed: Of the order, the crops and the images held out.
        checkpoint: A file for the state; where it is there already, the run continues from it.
        progress: Called after every step.

    Returns:
        The result, with a sentence in ``note`` if the images are too few or unlike.

    Raises:
        UserError: The images do not fit or are too few, the model's call gives something else, or the checkpoint is of
            another run.
    """
    alone = isinstance(teacher, Classifier)
    lr, batch_size = (given if given is not None else own
                      for given, own in ((lr, LR if alone else MODULE_LR), (batch_size, 32 if alone else 4)))
    draws = draws_of(images, backbone_inside(teacher).img_size, steps, batch_size, seed)
    if alone:
        require_same_classes(student, teacher)
    elif draws.held_out:
        require_logits(teacher, draws.held_out[0][:1])
    result = tune_model(student, teacher, draws, steps, lr=lr, loss=imitate_classifier if alone else imitate_module,
                        held_out=draws.held_out, seed=seed, checkpoint=checkpoint, progress=progress)
    if alone:
        notes = ' '.join(filter(None, (result.note, unlike(teacher, draws.held_out))))
        result = replace(result, note=notes or None)
        student.provenance['tuned'] = {**asdict(result), 'images': len(draws)}
    LOGGER.info('%s', result)
    return result


_tuned = tune
"""For :func:`compress`, whose argument has the same name."""


def backbone(model: Model | Classifier, weights: FilePath | None = None, *,
             merge: Sequence[tuple[int | str, str]] = (), tokens: None | TokenReducer | Mapping[str, Any] = None,
             **options: Any) -> Backbone:
    """The backbone of a classifier, for dense features: an image to maps of the dense model's sizes, merged or not.

    Args:
        model: As in :func:`load`, or a loaded or compressed classifier, whose weights are copied.
        weights, merge, tokens: As in :func:`load`.
        options: ``out_indices`` says which blocks' (Swin: stages') outputs are returned; the others are those of
            :class:`~cait_mm.models.deit.DeiT`, :class:`~cait_mm.models.lvvit.LVViT`,
            :class:`~cait_mm.models.swin.Swin` and :class:`~cait_mm.models.vit.ViT`.

    Raises:
        UserError: The file cannot be read, or is not the model that is asked for.
    """
    if isinstance(model, Classifier):
        own = model.backbone
        checkpoint = Checkpoint('the classifier', dict(own.state_dict()), own.spec, grid=own.grid)
        spec = spec_to_load(checkpoint, None, merge, tokens)
    else:
        arch, path = _arch_and_file(model, weights)
        checkpoint = read_checkpoint(str(path))
        spec = spec_to_load(checkpoint, arch, merge, tokens)
    result = FAMILIES[spec.arch.family](spec=spec, **{'img_size': stated_size(checkpoint, spec), **options})
    LOGGER.info('%s', result.load_checkpoint(checkpoint))
    return result.eval()


def _arch_and_file(model: Model, weights: FilePath | None) -> tuple[None | str | Arch | Mapping[str, Any], FilePath]:
    """The architecture to build, None where the file says it, and the file."""
    if weights is not None:
        return model, weights
    if isinstance(model, (Arch, Mapping)) or not Path(model).exists() and is_arch_name(str(model)):
        raise UserError(f'no weights are named for {model if isinstance(model, str) else "the architecture"}: give '
                        'their file too.')
    return None, model
