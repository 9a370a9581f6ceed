"""No patient in both training and validation: slices of one scan resemble each other more than two patients do."""
from typing import Any, Set

from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from cait_mm.errors import UserError


@HOOKS.register_module()
class SubjectSplitHook(Hook):
    """Refuse to train where a patient, or a polyp's sequence, is in training and in validation.

    It asks the datasets for ``subjects()``; those that have none, and wrappers around them, pass.
    """

    def before_train(self, runner: Runner) -> None:
        """Compare the two.

        Raises:
            UserError: They share a patient or sequence.
        """
        if runner.val_loop is None:
            return
        train, val = (subjects_of(loop.dataloader.dataset) for loop in (runner.train_loop, runner.val_loop))
        shared = sorted(train & val)
        if shared:
            raise UserError(f'{len(shared)} of {len(val)} patients or sequences of validation are in training too '
                            f'({", ".join(shared[:3])}): split by patient or sequence, never by slice.')


def subjects_of(dataset: Any) -> Set[str]:
    """The patients or sequences of a dataset and of those that it wraps."""
    if hasattr(dataset, 'subjects'):
        return dataset.subjects()
    inner = getattr(dataset, 'datasets', None) or [part for part in [getattr(dataset, 'dataset', None)] if part]
    return set().union(*(subjects_of(part) for part in inner))
