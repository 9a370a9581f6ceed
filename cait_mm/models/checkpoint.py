"""Strict loading of pretrained ViTs: all expected weights arrive, or an error lists those that did not."""
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from cait_mm.errors import UserError
from cait_mm.models.arguments import checked_grid
from cait_mm.models.formats import HEAD_KEYS, backbone_of, check_dimensions, find_weights, without_students
from cait_mm.models.vit_forms import timm_names
from cait_mm.ops.token_merge import Grid
from cait_mm.spec import Spec
from cait_mm.utils.weights import load_file

CLASSIFIER_KEYS = ('head.', 'aux_head.', 'head_dist.', 'fc_norm.', 'pre_logits.')
"""Prefixes of the keys in a classifier's checkpoint that follow the backbone."""

__all__ = [
    'CLASSIFIER_KEYS', 'Checkpoint', 'HEAD_KEYS', 'LoadReport', 'WEIGHTS_PAGE', 'load_file', 'read_checkpoint',
    'matching', 'state_grid', 'strict_load'
]
SPEC_META, VERSION_META = 'cait_spec', 'cait_mm_version'
"""The keys of a compressed checkpoint's spec and of the version that wrote it."""
GRID_META = 'cait_grid'
"""The key of the grid (H, W) of the positional embedding."""
WEIGHTS_PAGE = 'docs/prepare_data.md#weights'


@dataclass
class Checkpoint:
    """The weights of a file under the backbone's names, with the spec and grid of positions that it states, if any."""

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
    def is_compressed(self) -> bool:
        """Whether the file is a compressed classifier: it has a spec and is not part of a larger model."""
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

    Official checkpoints (``{'model': ...}``), timm's (a bare state dict, ``.safetensors``), compressed ones of this
    package, OpenMMLab training checkpoints (``{'state_dict': {'backbone. ...'}}``) and DINO's (of the teacher) are
    understood, also when wrapped by DDP, FSDP, ``torch.compile`` or Lightning. Plain ViTs of other projects get timm's
    names (:data:`~cait_mm.models.vit_forms.FORMS`). A classifier's head is kept, as ``head.``. Every family's backbone
    converts relatives of its own (:meth:`~cait_mm.models.base.Backbone.fit`).

    Args:
        path: The file or address.
        prefix: The prefix of the backbone's keys if it is not the usual one, such as ``teacher.backbone.``.

    Raises:
        UserError: The file is missing, damaged, holds no weights (or none under ``prefix``) or those of a model that
            this package does not have.
    """
    path, content = str(path), load_file(path)
    everything, notes = find_weights(path, content)
    everything = _below(path, everything, prefix) if prefix else without_students(everything, notes)
    weights, told = timm_names(path, backbone_of(everything))
    check_dimensions(path, weights)
    notes += told
    meta = content.get('meta')
    spec = meta.get(SPEC_META) if isinstance(meta, Mapping) else None
    whole = any(key.startswith('backbone.') for key in everything)
    checkpoint = Checkpoint(path, weights, notes=notes, grid=stated_grid(content, prefix), whole=whole,
                            foreign=spec is None and not whole)
    if spec is not None:
        checkpoint.spec = _carried_spec(path, spec, weights)
        checkpoint.provenance = {key: value for key, value in meta.items()
                                 if isinstance(key, str) and key not in (SPEC_META, VERSION_META, GRID_META)}
    return checkpoint


def _carried_spec(path: str, spec: Any, weights: Mapping[str, Tensor]) -> Spec:
    """The spec of a compressed checkpoint, checked not to describe more weights than the file holds."""
    try:
        carried = Spec.from_dict(spec)
    except UserError as error:
        raise UserError(f'checkpoint {path} carries a broken spec: {error}') from error
    held = sum(value.numel() for value in weights.values())
    if carried.block_params > held:
        raise UserError(f'checkpoint {path} carries a spec of {carried.block_params} parameters and holds {held}: it '
                        'is damaged, make it again.')
    return carried


def _below(path: str, weights: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The weights under ``prefix``; if it ends in ``backbone.``, also those next to the backbone, such as a head."""
    prefix = prefix.rstrip('.') + '.'
    places = [name for name in (prefix, prefix.removeprefix('module.'), prefix.removeprefix('model.'))
              if any(key.startswith(name) for key in weights)]
    if not places:
        there = dict.fromkeys(key.split('.')[0] for key in weights)
        raise UserError(f'checkpoint {path} holds nothing under {prefix!r}, its names start with '
                        f'{_listing(list(there))}: correct the prefix in init_cfg.')
    prefix = places[0]
    parent = prefix.removesuffix('backbone.') if f'.{prefix}'.endswith('.backbone.') else prefix
    return {key.removeprefix(parent): value for key, value in weights.items() if key.startswith(parent)}


def stated_grid(content: Any, prefix: str | None = None) -> Grid | None:
    """The grid (H, W) of positions that a file's content states.

    A compressed checkpoint states it in its meta, a state dict in the metadata that PyTorch keeps for the backbone's
    module (:func:`state_grid`).
    """
    inside = content.values() if isinstance(content, Mapping) else ()
    meta = content.get('meta') if isinstance(content, Mapping) else None
    modules = [getattr(weights, '_metadata', None) for weights in (content, *inside)]
    names = [f'{prefix.rstrip(".")}{end}' for end in ('', '.backbone')] if prefix else ['backbone', '']
    stated = [meta, *(entry.get((wrapper + name).rstrip('.')) for entry in modules if isinstance(entry, Mapping)
                      for name in names for wrapper in ('', 'module.', 'model.'))]
    return next((checked_grid(entry[GRID_META]) for entry in stated
                 if isinstance(entry, Mapping) and GRID_META in entry), None)


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
        unused: Prefixes of checkpoint keys that this module does not use, such as a classifier's head.
        optional: Prefixes of module keys that may be absent from the checkpoint (merges, in a dense one).
        hint: A remedy for the message if something does not match.

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
