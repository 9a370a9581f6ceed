"""``init_cfg``, in which a config names the checkpoint of a backbone."""
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from cait_mm.errors import UserError
from cait_mm.models.carried import agreed
from cait_mm.models.checkpoint import Checkpoint, read_checkpoint
from cait_mm.spec import Spec

INIT_KEYS = ('type', 'checkpoint', 'prefix', 'map_location')


def checked_init_cfg(init_cfg: Any, who: str) -> dict[str, Any] | None:
    """``init_cfg`` as a plain dict of :data:`INIT_KEYS`, or None if it is empty.

    A list may hold one entry: a checkpoint sets every weight, so nothing is left for a second one.

    Raises:
        UserError: It asks for something that ``who`` does not support.
    """
    if not init_cfg:
        return None
    how = f'{who} takes one dict(type=\'Pretrained\', checkpoint=FILE), with prefix and map_location if need be'
    if isinstance(init_cfg, (list, tuple)):
        if len(init_cfg) != 1:
            raise UserError(f'init_cfg has {len(init_cfg)} entries: {how}; it sets all weights.')
        init_cfg = init_cfg[0]
    if not isinstance(init_cfg, Mapping):
        raise UserError(f'init_cfg={init_cfg!r}: {how}.')
    kind = init_cfg.get('type')
    if getattr(kind, '__name__', kind) not in ('Pretrained', 'PretrainedInit') or not init_cfg.get('checkpoint'):
        raise UserError(f'init_cfg={dict(init_cfg)}: {how}.')
    unknown = [str(key) for key in init_cfg if key not in INIT_KEYS]
    if unknown:
        raise UserError(f'init_cfg has unknown keys {", ".join(unknown)}: {how}.')
    prefix, device = init_cfg.get('prefix'), init_cfg.get('map_location')
    if prefix is not None and (not isinstance(prefix, str) or not prefix.strip('.')):
        raise UserError(f'init_cfg prefix={prefix!r}: give the name of the module in the checkpoint, such as '
                        '\'backbone.\'.')
    try:
        torch.device('cpu' if device is None else device)
    except (RuntimeError, TypeError):
        raise UserError(f'init_cfg map_location={device!r}: give a device, such as \'cpu\'.') from None
    return {**init_cfg, 'type': 'Pretrained', 'checkpoint': str(init_cfg['checkpoint'])}


def read_pretrained(init_cfg: Mapping[str, Any], who: str) -> Checkpoint:
    """The checkpoint that a validated or raw ``init_cfg`` names. ``map_location`` is not used: weights are read on
    the CPU and copied to the device of the backbone.
    """
    init_cfg = checked_init_cfg(init_cfg, who)
    return read_checkpoint(init_cfg['checkpoint'], init_cfg.get('prefix'))


def spec_of_pretrained(init_cfg: Mapping[str, Any] | None, spec: Spec, channels_stated: bool) -> Spec:
    """The spec of a local compressed checkpoint in ``init_cfg``; ``spec`` if there is none yet.

    Raises:
        UserError: The checkpoint is of another architecture or has other merges than ``spec``.
    """
    path = (init_cfg or {}).get('checkpoint')
    if not path or not Path(path).is_file():
        return spec
    carried = read_pretrained(init_cfg, 'the backbone').spec
    return spec if carried is None else agreed(path, carried, spec, channels_stated, 'the config describes')
