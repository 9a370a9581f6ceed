"""Converting a checkpoint to a backbone's names and shapes, and loading all of it or nothing."""
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from timm.models import adapt_input_conv

from cait_mm.arch import ARCHS
from cait_mm.errors import UserError
from cait_mm.models.carried import as_wanted, difference
from cait_mm.models.checkpoint import CLASSIFIER_KEYS, Checkpoint, LoadReport, strict_load
from cait_mm.models.widths import told_widths
from cait_mm.ops.token_merge import TokenMerge

if TYPE_CHECKING:
    from cait_mm.models.base import Backbone


class Fitted(NamedTuple):
    """How to load a checkpoint that was converted to a backbone's names and shapes."""

    unused: list[str]
    """Prefixes of keys that the backbone does not use."""
    optional: list[str]
    """Prefixes of keys that may be missing."""
    notes: list[str]
    """Sentences for the log."""
    hint: str
    """A remedy for the message if something does not match."""


def load_checkpoint(backbone: 'Backbone', checkpoint: Checkpoint) -> LoadReport:
    """See :meth:`cait_mm.models.base.Backbone.load_checkpoint`."""
    carried = checkpoint.spec and as_wanted(checkpoint.spec, backbone.spec)
    if carried is not None and carried != backbone.spec:
        raise UserError(f'checkpoint {checkpoint.path} is another model than this backbone: '
                        f'{difference(carried, backbone.spec)}.')
    return strict_load(backbone, checkpoint, *fit(backbone, checkpoint))


def fit(backbone: 'Backbone', checkpoint: Checkpoint) -> Fitted:
    """Convert a checkpoint to a backbone's names and shapes, in place.

    Raises:
        UserError: It holds compactors, or is of another architecture or other channels of the image.
    """
    state, own = checkpoint.state_dict, backbone.state_dict()
    if any('.parametrizations.' in key for key in state) and not any('.parametrizations.' in key for key in own):
        raise UserError(f'checkpoint {checkpoint.path} still holds compactors: fold it first with python '
                        'tools/fold.py CHECKPOINT OUT.')
    notes, optional = backbone.fit(checkpoint) + _fit_channels(backbone, checkpoint), backbone.optional()
    _refuse_other_size(backbone, checkpoint)
    state = checkpoint.state_dict
    merges, carried = [key for key in own if _is_merge(key)], checkpoint.spec
    if merges and not any(map(_is_merge, state)) and not (carried and (carried.merges or carried.tokens)):
        optional = optional + merges
        blocks = ', '.join(str(merge.block) for merge in backbone.spec.merges)
        notes.append(f'merges before blocks {blocks} start as the mean of their tokens' if blocks else
                     f'what {type(backbone.spec.tokens).__name__} learns starts as new')
        for module in backbone.modules():
            if isinstance(module, TokenMerge):
                module.reset_parameters()
    if any(key.startswith('pre_logits.') for key in state):
        notes.append('the representation layer pre_logits, which stands before a classifier\'s head, is left out')
    hint = ''
    if told_widths(backbone.spec, state) != backbone.spec:
        hint = 'Its channel widths are not this backbone\'s: use the compressed one it was trained from, or its widths.'
    return Fitted([*CLASSIFIER_KEYS, *backbone.unused()], optional, notes, hint)


def _fit_channels(backbone: 'Backbone', checkpoint: Checkpoint) -> list[str]:
    """Adapt a stem of 3 channels to the channels of this backbone, as timm does."""
    stem, wanted = checkpoint.state_dict.get(backbone.stem_key), backbone.arch.in_channels
    if stem is None or stem.dim() != 4 or stem.shape[1] == wanted:
        return []
    if stem.shape[1] != 3:
        raise UserError(f'checkpoint {checkpoint.path} is for images of {stem.shape[1]} channels, this backbone '
                        f'for {wanted}: set in_channels={stem.shape[1]}; only 3 channels can become others.')
    checkpoint.state_dict[backbone.stem_key] = adapt_input_conv(wanted, stem)
    return [f'the stem is adapted from 3 to {wanted} channels']


def _refuse_other_size(backbone: 'Backbone', checkpoint: Checkpoint) -> None:
    """Raise if the sizes in the checkpoint are those of another known architecture."""
    arch = backbone.arch
    sizes = arch.sizes(checkpoint.state_dict)
    own = {key: getattr(arch, key) for key in sizes}
    name = next((name for name, known in ARCHS.items() if known.family == arch.family
                 and sizes and all(getattr(known, key) == value for key, value in sizes.items())), None)
    if name is not None and sizes != own:
        raise UserError(f'checkpoint {checkpoint.path} is a {name} ({_listed(sizes)}), this backbone is '
                        f'{arch.name} ({_listed(own)}): give the checkpoint of the same size, or change arch.')


def _listed(sizes: Mapping[str, Any]) -> str:
    return ', '.join(f'{key}={value}' for key, value in sizes.items())


def _is_merge(key: str) -> bool:
    return 'merges' in key.split('.') or key.startswith('tokens.')
