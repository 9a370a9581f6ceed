"""A whole classifier as a plain PyTorch module that can be loaded, compressed, trained and saved."""
import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from timm.layers import trunc_normal_
from torch import Tensor, nn

from cait_mm.arch import Arch
from cait_mm.errors import UserError
from cait_mm.models.base import Backbone
from cait_mm.models.carried import spec_to_load, stated_size
from cait_mm.models.checkpoint import Checkpoint, LoadReport, read_checkpoint, strict_load
from cait_mm.models.compressed import compressed_content, save_compressed
from cait_mm.models.families import classifier_backbone
from cait_mm.models.formats import HEAD_KEYS, HEADS
from cait_mm.spec import Spec
from cait_mm.tokens import TokenReducer

LOGGER = logging.getLogger('cait_mm')


class Classifier(nn.Module):
    """A family's own classifier on any spec: the normalised CLS, in Swin the mean token, goes through a linear head. In
    a plain ViT the pooling is the architecture's, and a distilled one averages the heads on CLS and its second token.

    LV-ViT adds half of the highest score that an auxiliary head gives to any token, as its authors do in inference; it
    is trained on that sum, without token labels (paper, section IV-C5).

    Args:
        backbone: With the last output alone, behind the final norm
            (:func:`~cait_mm.models.families.classifier_backbone`).
        num_classes: Classes of the head.
        provenance: Where the weights come from, as plain types; :meth:`save` keeps it.
        base: Arguments for another base class of a subclass.
    """

    parameters_of: ClassVar[str] = ''
    """The prefix of parameter names in errors: ``model.`` in a config."""

    def __init__(self, backbone: Backbone, num_classes: int = 1000, provenance: Mapping[str, Any] | None = None,
                 **base: Any) -> None:
        super().__init__(**base)
        self.num_classes = num_classes
        self.provenance = dict(provenance or {})
        self.backbone = backbone
        self.head = self._new_head()
        self.aux_head = self._new_head() if backbone.arch.aux_head else None
        self.head_dist = self._new_head() if backbone.arch.dist_token else None

    def _new_head(self) -> nn.Linear:
        head = nn.Linear(self.backbone.embed_dim, self.num_classes)
        trunc_normal_(head.weight, std=.02)
        nn.init.zeros_(head.bias)
        return head

    @property
    def spec(self) -> Spec:
        """The description of the backbone: its merges, and the widths of every block."""
        return self.backbone.spec

    def forward(self, images: Tensor) -> Tensor:
        """Normalised images (B, 3, H, W) -> logits (B, num_classes)."""
        return self.classify(self.backbone.forward_tokens(images)[0])

    def classify(self, tokens: Tensor) -> Tensor:
        """The last block's normalised tokens (B, N, C) -> logits (B, num_classes)."""
        logits = self.head(self.backbone.pool(tokens))
        if self.aux_head is not None:
            logits = logits + 0.5 * self.aux_head(tokens[:, 1:]).amax(1)
        if self.head_dist is not None:
            logits = (logits + self.head_dist(tokens[:, 1])) / 2
        return logits

    def load_checkpoint(self, checkpoint: Checkpoint, head_rows: Sequence[int] | None = None,
                        new_head: bool = False) -> LoadReport:
        """Load backbone and head strictly from an official, timm or compressed checkpoint.

        Args:
            checkpoint: From :func:`~cait_mm.models.checkpoint.read_checkpoint`; its weights are taken out of it.
            head_rows: Rows of the checkpoint's head that this one takes, for a subset of its classes.
            new_head: Leave the head at its random weights: the checkpoint is of other classes.

        Raises:
            UserError: Something does not fit; every key that does not is listed.
        """
        self._refuse_more_head(checkpoint, new_head)
        names = [key for key in checkpoint.state_dict if key.startswith(HEAD_KEYS)]
        heads = {key: checkpoint.state_dict.pop(key) for key in names}
        report = self._load_backbone(checkpoint)
        if new_head:
            report.notes.append(f'the head of {self.num_classes} classes starts at random')
        else:
            report.notes.append(self._load_heads(checkpoint.path, heads, head_rows))
        return report

    def _load_backbone(self, checkpoint: Checkpoint) -> LoadReport:
        return self.backbone.load_checkpoint(checkpoint)

    def _refuse_more_head(self, checkpoint: Checkpoint, new_head: bool) -> None:
        """Raise where the head of a checkpoint is more than a linear layer: without the rest its outputs are others."""
        own = tuple(self.backbone.state_dict())
        more = next((part for part in ('pre_logits.', 'fc_norm.')
                     if any(key.startswith(part) and key not in own for key in checkpoint.state_dict)), None)
        if more and not new_head:
            remedy = ('name an architecture of the family vit with global_pool=\'avg\', fc_norm=True and '
                      'final_norm=False' if more == 'fc_norm.' else
                      f'start a head with {self.parameters_of}new_head=True, or give a checkpoint without it')
            raise UserError(f'checkpoint {checkpoint.path} has {more[:-1]} before its head, for which this classifier '
                            f'has no place: {remedy}.')

    def _load_heads(self, path: str, heads: dict[str, Tensor], head_rows: Sequence[int] | None) -> str:
        """Load ``heads``; the sentence for the log."""
        rows, own = len(heads.get('head.weight', ())), self.parameters_of
        if head_rows is not None:
            if max(head_rows) >= rows:
                raise UserError(f'head_rows names row {max(head_rows)}, the head in {path} has {rows}.')
            heads = {key: value[list(head_rows)] for key, value in heads.items()}
        elif rows != self.num_classes:
            raise UserError(f'the head in {path} has {rows} classes, {own}num_classes is {self.num_classes}: make '
                            f'them equal, pick classes with {own}head_rows, or use {own}new_head=True.')
        modules = {name: getattr(self, name) for name in HEADS if getattr(self, name) is not None}
        strict_load(nn.ModuleDict(modules), Checkpoint(path, heads), unused=(), optional=())
        return f'its head of {rows} classes' + (f', {self.num_classes} of them' if head_rows else '')

    def as_checkpoint(self) -> dict[str, Any]:
        """The content of a compressed checkpoint: weights, spec, grid of positions and provenance, in plain types on
        the CPU.

        Raises:
            UserError: Compactors are still in place, which a spec does not describe.
        """
        weights = {key.removeprefix('backbone.'): value.cpu() for key, value in self.state_dict().items()
                   if key.startswith(('backbone.', *HEAD_KEYS))}
        if any('.parametrizations.' in key for key in weights):
            raise UserError('the model still holds compactors: fold it before it is saved.')
        return compressed_content(weights, self.spec, self.backbone.grid, **self.provenance)

    def save(self, path: str | os.PathLike) -> None:
        """Write a compressed checkpoint, completely or not at all; :func:`load_classifier` and ``init_cfg`` in configs
        read it.

        Raises:
            UserError: As :meth:`as_checkpoint`, or the file cannot be written.
        """
        save_compressed(self.as_checkpoint(), path)


def load_classifier(path: str | os.PathLike, arch: None | str | Arch | Mapping[str, Any] = None,
                    merge: Sequence[tuple[int | str, str]] = (), num_classes: int | None = None,
                    head_rows: Sequence[int] | None = None, new_head: bool = False,
                    tokens: None | TokenReducer | Mapping[str, Any] = None, **options: Any) -> Classifier:
    """The classifier that a file holds, in eval mode.

    Args:
        path: Official, timm's or Hugging Face's weights, or a compressed checkpoint.
        arch: The architecture; a compressed checkpoint has its own.
        merge: Merges to put in, as means; a compressed checkpoint has its own.
        num_classes: Classes of the head; None is as many as the file's head or ``head_rows`` has.
        head_rows, new_head: See :meth:`Classifier.load_checkpoint`.
        tokens: Instead of merges: another token reducer, or its dict (:mod:`cait_mm.tokens`).
        options: Of the backbone, such as ``img_size``, ``in_channels``, ``drop_path_rate``. ``img_size`` is by default
            that of the file's positions, or else of the architecture.

    Raises:
        UserError: The file cannot be read, or is not the model that is asked for.
    """
    checkpoint = read_checkpoint(str(path))
    spec = spec_to_load(checkpoint, arch, merge, tokens)
    classes = num_classes or len(checkpoint.state_dict.get('head.weight', ()) if head_rows is None else head_rows)
    if not classes:
        raise UserError(f'checkpoint {path} has no head: give num_classes, and new_head=True for one that starts at '
                        'random.')
    options = {'img_size': stated_size(checkpoint, spec), **options}
    model = Classifier(classifier_backbone(spec, **options), classes,
                       checkpoint.provenance or {'source': Path(path).name})
    LOGGER.info('%s', model.load_checkpoint(checkpoint, head_rows, new_head))
    return model.eval()
