"""Token reducers: ATME and its rivals, one file each, behind the same backbone (docs/rivals.md)."""
from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import Any

from cait_mm.arch.checks import check_keys
from cait_mm.errors import UserError, shown
from cait_mm.tokens.atme import ATME
from cait_mm.tokens.base import BlockTokens, Looked, TokenReducer, Tokens, Weigh
from cait_mm.tokens.diffrate import DiffRate
from cait_mm.tokens.dtps import dTPS
from cait_mm.tokens.dynamicvit import DynamicViT
from cait_mm.tokens.evit import EViT
from cait_mm.tokens.evovit import EvoViT
from cait_mm.tokens.lfe import LFE
from cait_mm.tokens.stvitr import STViTR
from cait_mm.tokens.tome import ToMe

REDUCERS: dict[str, type[TokenReducer]] = {reducer.__name__: reducer for reducer in (
    ToMe, DiffRate, EViT, LFE, EvoViT, DynamicViT, dTPS, STViTR)}
"""What ``tokens=dict(type=...)`` knows. ATME has an argument of its own, ``merge``."""

__all__ = ['ATME', 'LFE', 'REDUCERS', 'BlockTokens', 'DiffRate', 'DynamicViT', 'EViT', 'EvoViT', 'Looked', 'STViTR',
           'ToMe', 'TokenReducer', 'Tokens', 'Weigh', 'as_reducer', 'dTPS']


def as_reducer(tokens: None | TokenReducer | Mapping[str, Any]) -> TokenReducer | None:
    """``dict(type='ToMe', r=13)`` as a reducer.

    Raises:
        UserError: The type or a setting is unknown or impossible.
    """
    if tokens is None or isinstance(tokens, TokenReducer):
        return tokens
    known = ', '.join(REDUCERS)
    if not isinstance(tokens, Mapping) or 'type' not in tokens:
        raise UserError(f'tokens={shown(tokens)}: write dict(type=NAME, ...), with one of {known}.')
    kind = tokens['type']
    if not isinstance(kind, str) or kind not in REDUCERS:
        raise UserError(f'tokens of type {shown(kind)} are unknown: use {known}, or merge=(...) for ATME.')
    settings = {key: value for key, value in tokens.items() if key != 'type'}
    check_keys(f'tokens of type {kind}', settings, [field.name for field in fields(REDUCERS[kind])],
               [field.name for field in fields(REDUCERS[kind]) if field.default is MISSING])
    return REDUCERS[kind](**settings)
