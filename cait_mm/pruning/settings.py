"""CDCP's settings, for any model and a run of any length."""
from dataclasses import dataclass
from typing import Any

from cait_mm.errors import UserError
from cait_mm.utils.schema import is_number, is_share, is_whole

_KINDS = {
    'target': (lambda value: is_share(value) and value > 0, 'a share between 0 and 1'),
    **dict.fromkeys(('step', 'strength', 'shrink'),
                    (lambda value: is_number(value) and value > 0, 'a positive number')),
    **dict.fromkeys(('interval', 'align'), (lambda value: is_whole(value, 1), 'a positive whole number')),
    **dict.fromkeys(('head_consistency', 'attention_consistency', 'allow_remnants'),
                    (lambda value: isinstance(value, bool), 'True or False')),
    'rule': (lambda value: value in ('lasso', 'proximal'), 'lasso or proximal'),
}
_MAY_BE_NONE = ('rule', 'step', 'shrink')


@dataclass(frozen=True)
class Settings:
    """How CDCP chooses channels and pushes them to zero; the defaults fit a run of any length.

    Args:
        target: The share of the dense model's MACs to save in the end, merges included.
        rule: How masked channels vanish: ``lasso`` (the paper's Eq. 2) or ``proximal``, for short runs. None takes the
            lasso where masked channels vanish by it before the run ends, and proximal steps where they do not.
        strength: Eq. 2's lambda.
        shrink: How much a proximal step shortens a masked column; None empties a column of norm 1 in a quarter of
            the run.
        step, interval: The wanted reduction grows by ``step`` and masks are rebuilt every ``interval`` steps (Tab.
            XXII). A ``step`` of None reaches the target in a quarter of the run, rising from what merges save
            alone.
        head_consistency, attention_consistency: The paper's two consistencies (Tab. XI).
        align: Leave widths in multiples of this.
        allow_remnants: Train although masked channels cannot vanish in time.

    Raises:
        UserError: A value is impossible.
    """

    target: float
    rule: str | None = None
    strength: float = 1e-5
    shrink: float | None = None
    step: float | None = None
    interval: int = 25
    head_consistency: bool = True
    attention_consistency: bool = True
    align: int = 1
    allow_remnants: bool = False

    def __post_init__(self) -> None:
        for name, (test, kind) in _KINDS.items():
            value = getattr(self, name)
            if not (value is None and name in _MAY_BE_NONE):
                require(name, value, test(value), kind)


def require(name: str, value: Any, holds: bool, kind: str) -> None:
    """Raise a UserError that names a parameter, its value and the kind that it has to be, unless that ``holds``."""
    if not holds:
        raise UserError(f'`{name}={value!r}`: it has to be {kind}.')
