"""A check that no patient is in both training and validation: slices of one scan resemble each other."""
from collections.abc import Iterator
from typing import Any

from mmengine.hooks import Hook
from mmengine.registry import DATASETS, HOOKS
from mmengine.runner import Runner

from cait_mm.errors import UserError


@HOOKS.register_module()
class SubjectSplitHook(Hook):
    """Refuse to train if a patient, or a sequence of a polyp, is in training and in validation or test.

    The datasets are asked for ``subjects()``; those without this method pass.
    """

    def before_train(self, runner: Runner) -> None:
        """Compare the datasets.

        Raises:
            UserError: Two share a patient or sequence.
        """
        if runner.train_loop is None:
            return
        train = subjects_of(runner.train_loop.dataloader.dataset)
        for split, dataset in _held_out(runner) if train else ():
            problems = shared_subjects(train, subjects_of(dataset))
            if problems:
                raise UserError(f'{split}: {problems[0]}')


def subjects_of(dataset: Any) -> set[str]:
    """The patients or sequences of a dataset and of those that it wraps."""
    if hasattr(dataset, 'subjects'):
        return dataset.subjects()
    inner = getattr(dataset, 'datasets', None) or [part for part in [getattr(dataset, 'dataset', None)] if part]
    return set().union(*(subjects_of(part) for part in inner))


def shared_subjects(train: set[str], other: set[str]) -> list[str]:
    """A sentence if patients or sequences of ``other`` are in ``train`` too, in a list."""
    shared = sorted(train & other)
    return [f'{len(shared)} of {len(other)} patients or sequences are in training too ({", ".join(shared[:3])}): split '
            'by patient or sequence, never by slice.'] if shared else []


def _held_out(runner: Runner) -> Iterator[tuple[str, Any]]:
    """The dataset of validation, and that of the test if it is another one."""
    if runner.val_loop is not None:
        yield 'validation', runner.val_loop.dataloader.dataset
    val, test = ((runner.cfg.get(f'{split}_dataloader') or {}).get('dataset') for split in ('val', 'test'))
    if test and test != val:
        yield 'test', DATASETS.build(test)
