"""``model.cdcp`` of a config: CDCP's settings with the paper's values, counted in epochs."""
import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cait_mm.errors import UserError, parameters_called
from cait_mm.pruning.settings import Settings, require
from cait_mm.utils.schema import is_number, is_whole

PREFIX = 'model.cdcp.'


@dataclass(frozen=True)
class CDCPSettings(Settings):
    """The settings of CDCP in a config; the defaults are those of the paper.

    Args:
        start: ``identity`` (the paper's) or ``calibrated``: order channels by their contribution before training.
        calibration_images: The number of training images for the calibrated start.
        start_epoch: The epoch at which the ramp begins (Tab. XXI).
        others: See :class:`~cait_mm.pruning.settings.Settings`; steps are iterations here.

    Raises:
        UserError: A value is impossible.
    """

    rule: str | None = 'lasso'
    step: float | None = 0.00025
    start: str = 'identity'
    calibration_images: int = 64
    start_epoch: float = 30

    def __post_init__(self) -> None:
        with parameters_called(PREFIX):
            super().__post_init__()
            require('start', self.start, self.start in ('identity', 'calibrated'), 'identity or calibrated')
            require('calibration_images', self.calibration_images, is_whole(self.calibration_images, 1),
                    'a positive whole number')
            require('start_epoch', self.start_epoch, is_number(self.start_epoch, 0), 'a number, 0 or more')

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> 'CDCPSettings':
        """Read ``model.cdcp``.

        Raises:
            UserError: It names something unknown, or lacks the target.
        """
        known = [field.name for field in dataclasses.fields(cls)]
        unknown = [key for key in config if key not in known]
        if unknown or 'target' not in config:
            what = f'unknown {", ".join(unknown)}' if unknown else 'no target'
            raise UserError(f'model.cdcp has {what}; it takes {", ".join(known)}.')
        return cls(**config)

    def of_the_method(self) -> dict[str, Any]:
        """The settings that :class:`~cait_mm.pruning.cdcp.CDCP` takes."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(Settings)}
