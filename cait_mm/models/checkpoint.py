"""Strict loading of pretrained ViTs: all expected weights arrive, or an error lists those that did not."""
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from cait_mm.errors import UserError
from cait_mm.models.arguments import checked_grid
from cait_mm.models.formats import HEAD_KEYS, backbone_of, check_dimensions, find_weights
from cait_mm.ops.token_merge import Grid
from cait_mm.spec import Spec
from cait_mm.utils.weights import load_file

CLASSIFIER_KEYS = ('head.', 'aux_head.', 'head_dist.', 'fc_norm.', 'pre_logits.')
"""The part of a classifier's checkpoint behind the backbone."""

__all__ = [
    'CLASSIFIER_KEYS', 'Checkpoint', 'HEAD_KEYS', 'LoadReport', 'WEIGHTS_PAGE', 'load_file', 'read_checkpoint',
    'matching', 'state_grid', 'strict_load'
]
SPEC_META, VERSION_META = 'cait_spec', 'cait_mm_version'
"""Where a compressed checkpoint states its spec, and the version that wrote it."""
GRID_META = 'cait_grid'
"""Where files state the grid (H, W) of their positional embedding."""
WEIGHTS_PAGE = 'docs/prepare_data.md#weights'


@dataclass
class Checkpoint:
    """A file's weights under the backbone's own names, with the spec and the grid of positions that it states, if any.
    """

    path: str
    state_dict: dict[str, Tensor]
    spec: Spec | None = None
    notes: list[str] = field(default_factory=list)
    """Decisions made while reading it, as sentences for the log."""
    grid: Grid | None = None
    provenance: dict[str, Any] = field(default_factory=dict)
    """The record of a compressed checkpoint's origin."""
    whole: bool = False
    """Whether the file holds a segmentor or detector, or a training's checkpoint, of which this is the backbone."""
    foreign: bool = False
    """Whether the file is of another project, so that its model may have another form than this package's."""

    @property
    def is_export(self) -> bool:
        """Whether the file is a compressed classifier and says so."""
        return self.spec is not None and not self.whole


@dataclass
class LoadReport:
    """The result of a strict load; ``str()`` is the line for the log."""

    path: str
    loaded: int
    unused: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        unused = f'; not used by this backbone: {", ".join(self.unused)}' if self.unused else ''
        return '; '.join([f'loaded {self.loaded} tensors from {self.path}', *self.notes]) + unused


def read_checkpoint(path: str, prefix: str | None = None) -> Checkpoint:
    """Read a local file or an address and find the backbone in it.

    Official checkpoints (``{'model': ...}``), timm's and Hugging Face's (a bare state dict, ``.safetensors``),
    compressed ones of this package and OpenMMLab training checkpoints (``{'state_dict': {'backbone. ...'}}``) are
    understood, also when wrapped by DDP, ``torch.compile`` or Lightning. A classifier's head is kept, as ``head.``.
    Every family's backbone converts relatives of its own (:meth:`~cait_mm.models.base.Backbone.fit`).

    Args:
        path: The file or address.
        prefix: Where the backbone stands in the file, if not in its usual place, such as ``teacher.backbone.``.

    Raises:
        UserError: The file is missing, damaged, holds no weights (or none under ``prefix``) or those of a model that
            this package does not have.
    """
    path, content = str(path), load_file(path)
    found, notes = find_weights(path, content)
    if prefix:
        found = _below(path, found, prefix)
    weights = backbone_of(found)
    check_dimensions(path, weights)
    meta = content.get('meta')
    spec = meta.get(SPEC_META) if isinstance(meta, Mapping) else None
    whole = any(key.startswith('backbone.') for key in found)
    checkpoint = Checkpoint(path, weights, notes=notes, grid=stated_grid(content, prefix), whole=whole,
                            foreign=spec is None and not whole)
    if spec is not None:
        checkpoint.spec = _carried_spec(path, spec, weights)
        checkpoint.provenance = {key: value for key, value in meta.items()
                                 if isinstance(key, str) and key not in (SPEC_META, VERSION_META, GRID_META)}
    return checkpoint


def _carried_spec(path: str, spec: Any, weights: Mapping[str, Tensor]) -> Spec:
    """The spec of a compressed checkpoint, which describes no more than the file holds."""
    try:
        found = Spec.from_dict(spec)
    except UserError as error:
        raise UserError(f'checkpoint {path} carries a broken spec: {error}') from error
    held = sum(value.numel() for value in weights.values())
    if found.block_params > held:
        raise UserError(f'checkpoint {path} carries a spec of {found.block_params} parameters and holds {held}: it is '
                        'damaged, make it again.')
    return found


def _below(path: str, weights: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The weights under ``prefix``; if it ends in ``backbone.``, those next to the backbone too, such as a head."""
    prefix = prefix.rstrip('.') + '.'
    found = [name for name in (prefix, prefix.removeprefix('module.'), prefix.removeprefix('model.'))
             if any(key.startswith(name) for key in weights)]
    if not found:
        there = dict.fromkeys(key.split('.')[0] for key in weights)
        raise UserError(f'checkpoint {path} holds nothing under {prefix!r}, its names start with '
                        f'{_listing(list(there))}: correct the prefix in init_cfg.')
    prefix = found[0]
    parent = prefix.removesuffix('backbone.') if f'.{prefix}'.endswith('.backbone.') else prefix
    return {key.removeprefix(parent): value for key, value in weights.items() if key.startswith(parent)}


def stated_grid(content: Any, prefix: str | None = None) -> Grid | None:
    """The grid (H, W) of positions that a file's content states.

    Exports state it in their meta, state dicts in the metadata that PyTorch keeps for the backbone's module
    (:func:`state_grid`).
    """
    inside = content.values() if isinstance(content, Mapping) else ()
    meta = content.get('meta') if isinstance(content, Mapping) else None
    modules = [getattr(weights, '_metadata', None) for weights in (content, *inside)]
    names = [f'{prefix.rstrip(".")}{end}' for end in ('', '.backbone')] if prefix else ['backbone', '']
    stated = [meta, *(found.get((wrapper + name).rstrip('.')) for found in modules if isinstance(found, Mapping)
                      for name in names for wrapper in ('', 'module.', 'model.'))]
    return next((checked_grid(found[GRID_META]) for found in stated
                 if isinstance(found, Mapping) and GRID_META in found), None)


def state_grid(module: torch.nn.Module, state_dict: Any, prefix: str, local_metadata: dict[str, Any]) -> None:
    """A state-dict hook: note the grid of a backbone's positions in the metadata that travels with the weights."""
    if module.grid is not None:
        local_metadata[GRID_META] = list(module.grid)


def matching(module: torch.nn.Module, checkpoint: Checkpoint, unused: Sequence[str], optional: Sequence[str],
             hint: str = '') -> dict[str, Tensor]:
    """The part of a checkpoint that ``module`` takes; every key has to match in name and shape.

    Args:
        module: The module to fill.
        checkpoint: Weights under the module's names.
        unused: Prefixes of checkpoint keys that this module has no use for (a classifier's head, say).
        optional: Prefixes of module keys that may be absent from the checkpoint (merges, in a dense one).
        hint: The remedy, where something does not match.

    Raises:
        UserError: Lists every missing, unexpected and misshapen key.
    """
    own = module.state_dict()
    given = {key: value for key, value in checkpoint.state_dict.items()
             if key in own or not key.startswith(tuple(unused))}
    missing = [key for key in own if key not in given and not key.startswith(tuple(optional))]
    unexpected = [key for key in given if key not in own]
    misshapen = [f'{key} is {_shape(given[key])}, wanted {_shape(own[key])}' for key in given
                 if key in own and _shape(given[key]) != _shape(own[key])]
    problems = [f'{name}: {_listing(keys)}' for name, keys in
                (('missing', missing), ('unexpected', unexpected), ('misshapen', misshapen)) if keys]
    if problems:
        raise UserError(f'checkpoint {checkpoint.path} does not fit this backbone, nothing was loaded; '
                        f'{"; ".join(problems)}.{hint and f" {hint}"}')
    return given


@torch.no_grad()
def strict_load(module: torch.nn.Module, checkpoint: Checkpoint, unused: Sequence[str], optional: Sequence[str],
                notes: Sequence[str] = (), hint: str = '') -> LoadReport:
    """Copy a checkpoint into ``module``: all of it or nothing. Arguments are those of :func:`matching`.

    Args:
        notes: Sentences for the report.

    Raises:
        UserError: As :func:`matching`.
    """
    given, own = matching(module, checkpoint, unused, optional, hint), module.state_dict()
    for key, value in given.items():
        own[key].copy_(value)
    left = [key for key in checkpoint.state_dict if key not in given]
    return LoadReport(checkpoint.path, len(given), left, [*checkpoint.notes, *notes])


def _shape(value: Any) -> tuple[int, ...]:
    return tuple(getattr(value, 'shape', ()))


def _listing(keys: list[str], most: int = 12) -> str:
    more = f' and {len(keys) - most} more' if len(keys) > most else ''
    return ', '.join(keys[:most]) + more
