"""Checks that a checkpoint holds all that a run needs to continue, with an error that names the missing part."""
import math
import numbers
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.logging import HistoryBuffer
from torch import Tensor

from cait_mm.errors import UserError
from cait_mm.utils.files import numbered_checkpoints

POSITION = 'resume'
"""Key of a checkpoint under which :class:`cait_mm.engine.runner.CheckedRunner` stores the rest of its state."""
WEIGHTS_ONLY = 'to start a new run from its weights, use --cfg-options load_from={path} without --resume'


def cannot_resume(path: str, reason: str) -> UserError:
    """The error about a checkpoint that a run cannot continue from."""
    return UserError(f'cannot resume from {path}: {reason}; {WEIGHTS_ONLY.format(path=path)}.')


def with_others(error: UserError, path: str) -> UserError:
    """The error about a checkpoint that cannot be resumed from, with the other checkpoints in its folder."""
    sentence = str(error).rstrip('.')
    if not sentence.startswith('cannot resume'):
        sentence = f'cannot resume: {sentence}'
    others = [str(other) for other in numbered_checkpoints(Path(path).parent) if str(other) != path]
    return UserError(f'{sentence}.' + (f' Others are there: --resume {", --resume ".join(others)}.' if others else ''))


def require_state(content: Any, path: str) -> None:
    """Check, without the model, that a training checkpoint is complete and its parts are of the right types.

    Args:
        content: The content of the file.
        path: Its name, for the error.

    Raises:
        UserError: A part is missing or damaged; the message names it.
    """
    for reason in _problems(content):
        raise cannot_resume(path, reason)


def _problems(content: Any) -> Iterator[str]:
    if not isinstance(content, Mapping):
        yield 'it is no training checkpoint'
        return
    missing = [key for key in ('state_dict', 'meta', 'message_hub', 'optimizer') if key not in content]
    if missing:
        yield f'it has no {", ".join(missing)}, so it holds weights at most, not the state of a run'
    for key in ('state_dict', 'meta', 'message_hub', 'optimizer'):
        if not isinstance(content[key], Mapping):
            yield f'its {key} is a {type(content[key]).__name__}'
    yield from _weight_problems(content['state_dict'], 'state_dict')
    if 'ema_state_dict' in content:
        yield from _weight_problems(content['ema_state_dict'], 'ema_state_dict')
    for key in ('iter', 'epoch'):
        if not _is_count(content['meta'].get(key)):
            yield f'its meta says {key}={content["meta"].get(key)!r}, which is no number of steps'
    seed = content['meta'].get('seed')
    if seed is not None and not (_is_count(seed) and seed < 2**32):
        yield f'its meta says seed={seed!r}, which is no seed'
    yield from _hub_problems(content['message_hub'])
    position = content.get(POSITION, {})
    if not isinstance(position, Mapping) or not all(
            _is_count(position.get(key, 0)) for key in ('batches_done', 'batch_size', 'processes', 'images')):
        yield 'its position in the data is damaged'


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _weight_problems(weights: Any, name: str) -> Iterator[str]:
    if not isinstance(weights, Mapping) or not weights:
        yield f'its {name} is empty'
        return
    for key, value in weights.items():
        if not isinstance(value, Tensor):
            yield f'{key} in its {name} is a {type(value).__name__}, no tensor'
        elif value.is_floating_point() and not torch.isfinite(value).all():
            yield f'{key} in its {name} is not finite'


def _hub_problems(hub: Mapping) -> Iterator[str]:
    parts = [hub.get(key) for key in ('log_scalars', 'runtime_info', 'resumed_keys')]
    if not all(isinstance(part, Mapping) and all(isinstance(key, str) for key in part) for part in parts):
        yield 'its message_hub lacks log_scalars, runtime_info or resumed_keys'
        return
    for key, value in parts[0].items():
        if not isinstance(value, HistoryBuffer) or not _is_history(vars(value)):
            yield f'the history of {key} in its message_hub is damaged'
    for key, value in parts[1].items():
        fits = {'best_score': lambda item: isinstance(item, (numbers.Real, np.number)),
                'best_ckpt': lambda item: item is None or isinstance(item, str),
                'last_ckpt': lambda item: item is None or isinstance(item, str),
                'keep_ckpt_ids': lambda item: isinstance(item, list) and all(map(_is_count, item)),
                'outdated_ckpts': lambda item: isinstance(item, list) and all(isinstance(n, str) for n in item)}
        for start, check in fits.items():
            if key.startswith(start) and not check(value):
                yield f'{key} in its message_hub is {value!r}'


def _is_history(state: Mapping) -> bool:
    values, counts = state.get('_log_history'), state.get('_count_history')
    return (isinstance(values, np.ndarray) and isinstance(counts, np.ndarray) and values.ndim == counts.ndim == 1
            and len(values) == len(counts) and values.dtype.kind in 'fiub' and counts.dtype.kind in 'iuf'
            and _is_count(state.get('_max_length', state.get('max_length'))))


def require_fit(content: Mapping, path: str, model: Mapping[str, Tensor], averaged: Mapping[str, Tensor] | None,
                ) -> None:
    """Check that a checkpoint's weights are the model's, each by name, shape and type.

    Args:
        content: Checked by :func:`require_state`.
        path: Its name, for the error.
        model: The ``state_dict`` of the model.
        averaged: The ``state_dict`` of its moving average, or None if the run keeps none.

    Raises:
        UserError: Some weights do not fit; the message names the first ones.
    """
    pairs = [('model', {key.removeprefix('module.'): value for key, value in content['state_dict'].items()}, model)]
    if (averaged is None) != ('ema_state_dict' not in content):
        raise cannot_resume(path, 'its run kept averaged weights (EMAHook) and this config does not'
                            if averaged is None else 'the config keeps averaged weights (EMAHook) and it holds none')
    if averaged is not None:
        pairs.append(('moving average', content['ema_state_dict'], averaged))
    for name, given, own in pairs:
        missing = [key for key in own if key not in given]
        extra = [key for key in given if key not in own]
        if missing or extra:
            raise cannot_resume(path, f'its weights are not those of this config\'s {name}: '
                                + '; '.join(f'{word} {_listing(keys)}' for word, keys in
                                            (('it lacks', missing), ('it has besides', extra)) if keys))
        for key, value in own.items():
            if given[key].shape != value.shape or given[key].dtype.is_floating_point != value.dtype.is_floating_point \
                    or given[key].is_complex() != value.is_complex():
                raise cannot_resume(path, f'{key} is {_kind(given[key])}, the {name} of this config has {_kind(value)}')


def _listing(keys: Sequence[str], most: int = 4) -> str:
    return ', '.join(keys[:most]) + (f' and {len(keys) - most} more' if len(keys) > most else '')


def _kind(value: Tensor) -> str:
    return f'{tuple(value.shape)} of {str(value.dtype).removeprefix("torch.")}'


_AVERAGES = ('exp_avg', 'exp_avg_sq', 'max_exp_avg_sq', 'momentum_buffer', 'square_avg')


def require_optimizer(content: Mapping, path: str, optimizer: torch.optim.Optimizer) -> None:
    """Check that a checkpoint's optimizer state belongs to ``optimizer``.

    Raises:
        UserError: It does not; the message names the part.
    """
    for reason in _optimizer_problems(content['optimizer'], optimizer, content['meta']['iter']):
        raise cannot_resume(path, f'its optimizer does not fit: {reason}')


def _optimizer_problems(saved: Mapping, optimizer: torch.optim.Optimizer, done: int) -> Iterator[str]:
    groups, state, own = saved.get('param_groups'), saved.get('state'), optimizer.state_dict()['param_groups']
    if not isinstance(groups, Sequence) or not isinstance(state, Mapping):
        yield 'param_groups or state is missing'
        return
    if [len(group['params']) for group in own] != [
            len(group['params']) if isinstance(group, Mapping) and _are_numbers(group.get('params')) else -1
            for group in groups]:
        yield 'it has other groups of parameters'
        return
    for number, (group, wanted) in enumerate(zip(groups, own)):
        wrong = [key for key, value in wanted.items() if key != 'params' and not _alike(group.get(key), value)]
        if wrong:
            yield f'{wrong[0]} of group {number} is {group.get(wrong[0])!r}'
    parameters = {name: parameter for group, wanted in zip(groups, optimizer.param_groups)
                  for name, parameter in zip(group['params'], wanted['params'])}
    needed = {'step', 'exp_avg', 'exp_avg_sq'} if type(optimizer) in (torch.optim.Adam, torch.optim.AdamW) else set()
    if needed and done and not state and any(parameter.requires_grad for parameter in parameters.values()):
        yield 'the state of its parameters is missing'
    for name, entries in state.items():
        if name not in parameters or not isinstance(entries, Mapping):
            yield f'it has a state for parameter {name!r}'
            continue
        if not needed <= set(entries):
            yield f'the state of parameter {name!r} lacks {_listing(sorted(needed - set(entries)))}'
        for key, value in entries.items():
            if not isinstance(value, Tensor):
                if key in _AVERAGES and value is not None or key == 'step' and not _alike(value, 0):
                    yield f'{key} of parameter {name!r} is a {type(value).__name__}'
            elif not value.is_floating_point() or not torch.isfinite(value).all():
                yield f'{key} of parameter {name!r} is {_kind(value)}, or not finite'
            elif key in _AVERAGES and value.shape != parameters[name].shape:
                yield f'{key} of parameter {name!r} is {_kind(value)}, the parameter {_kind(parameters[name])}'


def _are_numbers(parameters: Any) -> bool:
    return isinstance(parameters, (list, tuple)) and all(map(_is_count, parameters))


def _alike(saved: Any, own: Any) -> bool:
    """Whether two settings are of one kind: numbers, words, sequences of the same kinds; None and any other."""
    if saved is None or own is None or isinstance(own, bool):
        return own is None or saved is None or isinstance(saved, bool)
    if isinstance(own, (numbers.Real, np.number)):
        return isinstance(saved, (numbers.Real, np.number)) and not isinstance(saved, bool) and math.isfinite(saved)
    if isinstance(own, (list, tuple)):
        return isinstance(saved, (list, tuple)) and len(saved) == len(own) and all(map(_alike, saved, own))
    if isinstance(own, Mapping):
        return isinstance(saved, Mapping)
    return isinstance(saved, type(own))


def require_schedulers(content: Mapping, path: str, schedulers: Any) -> None:
    """Check that a checkpoint has as many schedulers as the run, of the same form.

    Args:
        content: Checked by :func:`require_state`.
        path: Its name, for the error.
        schedulers: Those of the run, a list or a dict of lists by optimizer.

    Raises:
        UserError: One does not fit; the message names it.
    """
    saved = content.get('param_schedulers')
    if not isinstance(schedulers, Mapping):
        schedulers, saved = {'': schedulers}, {'': saved}
    for name, own in schedulers.items():
        given = saved.get(name) if isinstance(saved, Mapping) else None
        if not isinstance(given, Sequence) or len(given) != len(own):
            count = len(given) if isinstance(given, Sequence) else 'no'
            raise cannot_resume(path, f'it has {count} parameter schedulers, the config {len(own)}')
        for number, (state, scheduler) in enumerate(zip(given, own)):
            wanted = scheduler.state_dict()
            if not isinstance(state, Mapping) or set(state) != set(wanted):
                raise cannot_resume(path, f'its parameter scheduler {number} is no {type(scheduler).__name__}')
            wrong = [key for key, value in wanted.items() if not _alike(state[key], value)]
            if wrong:
                raise cannot_resume(path, f'{wrong[0]} of its parameter scheduler {number} is {state[wrong[0]]!r}')


def require_same_run(content: Mapping, path: str, *, by_epoch: bool, lengths: dict[str, int],
                     classes: Sequence[str] | None, warn: Callable[[str], None], **data: int) -> None:
    """Check that a checkpoint and this config count alike and have the same classes; warn about other differences.

    Args:
        content: Checked by :func:`require_state`.
        path: Its name, for the error.
        by_epoch: Whether the run counts epochs.
        lengths: ``max_iters`` and ``max_epochs`` of the run.
        classes: The names of the classes of its data, if they have any.
        warn: Takes a sentence.
        data: ``batch_size``, ``processes`` and ``images`` of the run.

    Raises:
        UserError: It is another kind of run, is longer than this one, or has other classes.
    """
    meta, position = content['meta'], content.get(POSITION, {})
    if by_epoch and meta['iter'] and not meta['epoch'] and not position.get('batches_done'):
        raise cannot_resume(path, 'its run counted iterations, this config counts epochs')
    if not by_epoch and meta['epoch']:
        raise cannot_resume(path, 'its run counted epochs, this config counts iterations')
    unit = 'epoch' if by_epoch else 'iter'
    length = lengths[f'max_{unit}s']
    if meta[unit] > length:
        raise cannot_resume(path, f'it has {unit}={meta[unit]} and the config ends at train_cfg.max_{unit}s={length}, '
                            f'so raise that')
    before = content['message_hub']['runtime_info'].get(f'max_{unit}s')
    if _is_count(before) and before != length:
        warn(f'{path} belongs to a run of max_{unit}s={before}, this one has {length}: its schedulers keep the old '
             'length.')
    dataset = meta.get('dataset_meta')
    old = dataset.get('classes') if isinstance(dataset, Mapping) else None
    if isinstance(old, (list, tuple)) and classes and list(old) != list(classes):
        words = [f'{len(names)} classes ({_listing(list(map(str, names)))})' for names in (old, classes)]
        raise cannot_resume(path, f'it was trained on {words[0]}, the data have {words[1]}')
    changed = [f'{key} {position[key]} -> {value}' for key, value in data.items() if position.get(key, value) != value]
    if changed:
        warn(f'{path} comes from other data or processes ({", ".join(changed)}): the batches that follow are others '
             'than those of an uninterrupted run.')
