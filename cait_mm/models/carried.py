"""The spec in a compressed checkpoint, compared with the one that is wanted."""
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from cait_mm.arch import NAMES, Arch
from cait_mm.errors import UserError
from cait_mm.models.checkpoint import Checkpoint
from cait_mm.spec import Spec, make_spec
from cait_mm.tokens import TokenReducer


def spec_to_load(checkpoint: Checkpoint, arch: None | str | Arch | Mapping[str, Any],
                 merge: Sequence[tuple[int | str, str]],
                 tokens: None | TokenReducer | Mapping[str, Any] = None) -> Spec:
    """The spec of the model that a checkpoint is to be loaded into; arguments as in :func:`cait_mm.api.load`.

    Raises:
        UserError: The file is another model, or does not tell its architecture and ``arch`` is None.
    """
    carried = checkpoint.spec
    if carried is None:
        if arch is None:
            raise UserError(f'checkpoint {checkpoint.path} does not say its architecture: name it, one of '
                            f'{NAMES}.')
        return make_spec(arch, merge, tokens=tokens)
    wanted = make_spec(carried.arch if arch is None else arch, merge or (() if tokens else carried.merges),
                       tokens=tokens or (None if merge else carried.tokens))
    return agreed(checkpoint.path, carried, wanted)


def stated_size(checkpoint: Checkpoint, spec: Spec) -> tuple[int, int] | None:
    """Pixels (H, W) of the images that a file states for its positions; None if it states none or they do not fit."""
    grid, held = checkpoint.grid, len(checkpoint.state_dict.get('pos_embed', ((), ))[0])
    if grid is None or held - grid[0] * grid[1] not in (0, 1):
        return None
    return grid[0] * spec.arch.patch_size, grid[1] * spec.arch.patch_size


def agreed(path: str, carried: Spec, wanted: Spec, channels_stated: bool = False, who: str = 'is wanted') -> Spec:
    """The spec to build for a compressed checkpoint: its widths, with merges and channels of the image as wanted.

    Args:
        path: Of the checkpoint, for the message.
        carried: The spec in the checkpoint. Its merges may be weighted even if plain ones are wanted.
        wanted: The spec to agree with; its widths do not matter.
        channels_stated: Whether 3 channels were asked for or are the default.
        who: The origin of ``wanted``, for the message.

    Raises:
        UserError: The checkpoint is of another architecture or has other merges.
    """
    if not channels_stated and wanted.arch.in_channels == 3:
        wanted = with_channels(wanted, carried.arch.in_channels)
    carried = as_wanted(carried, wanted)
    if (carried.arch, carried.tokens) != (wanted.arch, wanted.tokens) or carried.merges not in (
            wanted.merges, wanted.weighted().merges):
        raise UserError(f'checkpoint {path} is another model than {who}: {difference(carried, wanted)}.')
    return carried


def as_wanted(carried: Spec, wanted: Spec) -> Spec:
    """The spec of a compressed checkpoint after loading: the stem is adapted to other image channels, merges that the
    checkpoint lacks start as means, and another token reducer that it lacks starts doing nothing with its weights.
    """
    carried = with_channels(carried, wanted.arch.in_channels)
    if carried.merges or carried.tokens or carried.arch != wanted.arch:
        return carried
    return carried.replace(merges=wanted.merges, tokens=wanted.tokens)


def with_channels(spec: Spec, in_channels: int) -> Spec:
    """``spec`` for images of ``in_channels`` channels."""
    return spec.replace(arch=replace(spec.arch, in_channels=in_channels))


def difference(carried: Spec, wanted: Spec) -> str:
    """How a compressed checkpoint differs from the model that is wanted."""
    if carried.arch != wanted.arch:
        return f'it is {carried.arch}, wanted {wanted.arch}'
    if carried.merges != wanted.merges:
        it, we = (', '.join(map(str, spec.merges)) or 'nothing' for spec in (carried, wanted))
        return f'it merges {it}, wanted {we}; to take the file as it is, set merge={tuple(map(tuple, carried.merges))}'
    if carried.tokens != wanted.tokens:
        it, we = (spec.tokens.to_dict() if spec.tokens else 'none' for spec in (carried, wanted))
        return f'it reduces tokens by {it}, wanted {we}'
    return 'its channel widths differ'
