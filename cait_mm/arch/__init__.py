"""Dense architectures as data, one file for each family."""
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from cait_mm.arch.base import Arch, BlockName, BlockSpec, as_image_size
from cait_mm.arch.checks import check_keys, check_positive_int
from cait_mm.arch.deit import DEIT, DeiTArch
from cait_mm.arch.lvvit import LVVIT, LVViTArch
from cait_mm.arch.swin import SWIN, SwinArch
from cait_mm.arch.timm_names import is_timm_name, timm_arch
from cait_mm.arch.vit import Rope, ViTArch
from cait_mm.errors import UserError, shown

ARCHS: dict[str, Arch] = {**DEIT, **LVVIT, **SWIN}
NAMES = f'{", ".join(ARCHS)}, or timm\'s name of a plain ViT, such as vit_small_patch14_dinov2'
"""What can be named, for help texts and errors."""
FAMILIES = {family.family: family for family in (DeiTArch, LVViTArch, SwinArch, ViTArch)}


def is_arch_name(name: str) -> bool:
    """Whether :func:`get_arch` knows an architecture of this name, or says why it is left out."""
    return name in ARCHS or is_timm_name(name)


def get_arch(arch: str | Arch | Mapping[str, Any], family: str = 'deit') -> Arch:
    """An architecture from its name, its fields or itself.

    Args:
        arch: A name from :data:`ARCHS` or timm's name of a plain ViT, an :class:`Arch`, or its fields; they may name
            their ``family``.
        family: Which family fields belong to that do not name one.

    Raises:
        UserError: There is no such architecture, or it is impossible.
    """
    if isinstance(arch, Arch):
        return arch
    if isinstance(arch, str):
        if arch in ARCHS:
            return ARCHS[arch]
        if is_timm_name(arch):
            return timm_arch(arch)
        raise UserError(f'unknown architecture {shown(arch)}: use one of {NAMES}, or a dict of '
                        f'{", ".join(FAMILIES[family].required)}.')
    if not isinstance(arch, Mapping):
        raise UserError(f'arch={shown(arch)} is neither a name nor a mapping of fields.')
    data = {'name': 'custom', 'family': family, **arch}
    name = data.pop('family')
    if not isinstance(name, str) or name not in FAMILIES:
        raise UserError(f'arch family={shown(name)}: use one of {", ".join(FAMILIES)}.')
    kind = FAMILIES[name]
    missing = [key for key in kind.required if key not in data]
    if missing:
        raise UserError(f'arch lacks {", ".join(missing)}: a free {name} needs {", ".join(kind.required)}.')
    check_keys('arch', data, [field.name for field in fields(kind)])
    return kind(**data)


__all__ = ['ARCHS', 'Arch', 'BlockName', 'BlockSpec', 'DeiTArch', 'FAMILIES', 'LVViTArch', 'NAMES', 'Rope',
           'SwinArch', 'ViTArch', 'as_image_size', 'check_keys', 'check_positive_int', 'get_arch', 'is_arch_name']
