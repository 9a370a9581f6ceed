"""Training checkpoints of the classification stage: they describe their classifier, and are loaded and folded."""
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cait_mm.arch import as_image_size, check_keys
from cait_mm.errors import UserError, reason_of, shown
from cait_mm.models import Backbone, Classifier, classifier_backbone
from cait_mm.models.checkpoint import Checkpoint, strict_load
from cait_mm.models.formats import HEAD_KEYS
from cait_mm.ops.compactor import add_backbone_compactors
from cait_mm.pruning.fold import PAD_TO, fold_classifier, without_masked
from cait_mm.pruning.masks import masks_of
from cait_mm.spec import Spec
from cait_mm.utils.weights import load_file

TRAINING_META = 'cait_training'
"""Where a training checkpoint describes its classifier in plain types: ``spec``, ``img_size``, ``cdcp``."""


def training_meta(backbone: Backbone, cdcp: Mapping[str, Any] | None) -> dict[str, Any]:
    """The description in a training checkpoint, with which :func:`load_training` needs no config."""
    return {'spec': backbone.spec.to_dict(), 'img_size': list(backbone.img_size), 'cdcp': dict(cdcp) if cdcp else None}


@dataclass(frozen=True)
class Described:
    """A description by :func:`training_meta`, read back."""

    spec: Spec
    img_size: tuple[int, int]
    cdcp: dict[str, Any] | None

    @classmethod
    def from_dict(cls, data: Any) -> 'Described':
        """Read :func:`training_meta`'s form.

        Raises:
            UserError: It is something else, or describes something impossible.
        """
        keys = [field.name for field in fields(cls)]
        check_keys(TRAINING_META, data, keys, keys)
        spec, cdcp = Spec.from_dict(data['spec']), data['cdcp']
        img_size = as_image_size('img_size', data['img_size'])
        spec.arch.check_grid('img_size', img_size)
        if cdcp is not None and not (isinstance(cdcp, Mapping) and all(map(_is_setting, cdcp.items()))):
            raise UserError(f'cdcp={shown(cdcp)} is no mapping of settings.')
        return cls(spec, img_size, dict(cdcp) if cdcp else None)


def _is_setting(item: tuple[Any, Any]) -> bool:
    return isinstance(item[0], str) and isinstance(item[1], (str, bool, int, float, type(None)))


def load_training(path: str) -> Classifier:
    """Rebuild the classifier of a training checkpoint from its own description; no config is needed.

    Its ``provenance`` has the settings of ``cdcp`` (None without; with them it holds compactors) and the ``classes``.

    Raises:
        UserError: It is no such checkpoint, is damaged or not finite, or its weights do not fit its description.
    """
    content = load_file(path)
    meta = content.get('meta') if isinstance(content, Mapping) else None
    meta = meta if isinstance(meta, Mapping) else {}
    if not meta.get(TRAINING_META) or not isinstance(content.get('state_dict'), Mapping):
        raise UserError(f'{path} is no checkpoint of the classification stage: give one that tools/train.py wrote with '
                        'a compress_* config.')
    weights = {name: value for name, value in content['state_dict'].items() if isinstance(name, str)
               and isinstance(value, Tensor) and name.startswith(('backbone.', *HEAD_KEYS))}
    try:
        described = Described.from_dict(meta[TRAINING_META])
    except UserError as error:
        raise UserError(f'{path} does not describe its classifier as tools/train.py does: {error}') from error
    held = sum(value.numel() for name, value in weights.items() if name.startswith('backbone.'))
    if described.spec.block_params > held:
        raise UserError(f'{path} describes a larger classifier than it holds weights of: use another checkpoint.')
    backbone = classifier_backbone(described.spec, img_size=described.img_size)
    if described.cdcp:
        add_backbone_compactors(backbone)
    model = Classifier(backbone, len(weights.get('head.bias', (0, ))), {
        'source': Path(path).name, 'cdcp': described.cdcp, 'classes': meta.get('dataset_meta')})
    try:
        strict_load(model, Checkpoint(path, weights), unused=(), optional=())
    except UserError as error:
        raise UserError(f'{path} does not hold the weights that it describes ({reason_of(error)}): use another '
                        'checkpoint.') from error
    return model.eval()


@torch.no_grad()
def fold_training(path: str, tolerance: float | None = 1e-3, pad_to: int = PAD_TO) -> Classifier:
    """Fold a classifier's training checkpoint, and check that it computes the same.

    Args:
        path: Written by the classification stage.
        tolerance, pad_to: As in :func:`~cait_mm.pruning.fold.fold`.

    Raises:
        UserError: It is no such checkpoint, is damaged or not finite, or channels have not vanished.
    """
    model = load_training(path)
    if not model.provenance['cdcp']:
        return model
    masks = masks_of(model.backbone)
    small = fold_classifier(model, masks, tolerance, pad_to)
    _check_equal(without_masked(model.backbone, masks), small.backbone)
    return small


def _check_equal(masked: Backbone, folded: Backbone) -> None:
    """Raise where the folded backbone does not compute the same as the masked one."""
    image = torch.randn(1, masked.arch.in_channels, *masked.img_size, generator=torch.Generator().manual_seed(0))
    wanted, actual = masked.forward_tokens(image)[0], folded.forward_tokens(image)[0]
    if not torch.allclose(wanted, actual, atol=1e-4, rtol=1e-4):
        apart = float((wanted - actual).abs().max())
        raise RuntimeError(f'the folded model differs from the masked one by {apart:.2g}')
