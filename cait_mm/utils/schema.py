"""The types of a config's values: which keys hold dicts, lists, names or numbers, and which numbers make sense.

MMEngine checks a value when it is used, which may be after an epoch, or never. A run with ``max_epochs=0`` or
``val_interval=0``, for example, ends without an error.
"""
import math
import numbers
import re
import reprlib
from collections.abc import Callable, Iterator, Mapping
from re import Pattern
from typing import Any

from cait_mm.errors import UserError

Rule = tuple[Pattern[str], Callable[[Any], bool], str]


def is_number(value: Any, low: float = -math.inf, high: float = math.inf) -> bool:
    """Whether ``value`` is a finite number (not a bool) from ``low`` to ``high``, both included."""
    return (isinstance(value, numbers.Real) and not isinstance(value, bool) and math.isfinite(value)
            and low <= value <= high)


def is_whole(value: Any, low: int = 0) -> bool:
    """Whether ``value`` is an integer (not a bool) of at least ``low``."""
    return isinstance(value, numbers.Integral) and not isinstance(value, bool) and value >= low


def is_share(value: Any) -> bool:
    """Whether ``value`` is a number from 0 to below 1."""
    return is_number(value, 0, 1) and value < 1


def _is_dict(value: Any) -> bool:
    return isinstance(value, Mapping)


def _is_list_of(test: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, (list, tuple)) and all(map(test, value))


_are_dicts = _is_list_of(_is_dict)


def _rules() -> list[Rule]:
    loader, optimizer = r'(train|val|test)_dataloader', r'optim_wrapper\.optimizer'
    paramwise, scheduler = r'optim_wrapper\.paramwise_cfg', r'param_scheduler(\.\d+)?'
    rules = [
        (rf'model|(train|val|test)_cfg|{loader}|optim_wrapper|default_hooks|env_cfg|visualizer|auto_scale_lr|randomness|'
         r'log_processor|model_wrapper_cfg|strategy|tta_model', _is_dict, 'a dict'),
        (r'model\.(backbone|cdcp|data_preprocessor|distillation|test_cfg)|model\.data_preprocessor\.mixup', _is_dict,
         'a dict'),
        (rf'{optimizer}|{paramwise}|{paramwise}\.custom_keys|optim_wrapper\.clip_grad|default_hooks\.\w+', _is_dict,
         'a dict'),
        (rf'{loader}\.(dataset|sampler|batch_sampler|collate_fn|worker_init_fn)|{loader}\..*\.metainfo', _is_dict,
         'a dict'),
        (r'(val|test)_evaluator|param_scheduler|model\.backbone\.init_cfg',
         lambda value: _is_dict(value) or _are_dicts(value), 'a dict or a list of dicts'),
        (rf'custom_hooks|vis_backends|visualizer\.vis_backends|tta_pipeline|{loader}\..*pipeline', _are_dicts,
         'a list of dicts'),
        (rf'load_from|default_scope|work_dir|experiment_name|launcher|{loader}\..*\.data_root',
         lambda value: isinstance(value, str), 'a string'),
        (rf'{loader}\..*\.data_prefix', lambda value: isinstance(value, (str, Mapping)), 'a string or a dict'),
        (rf'resume|{loader}\.(drop_last|persistent_workers|pin_memory)|auto_scale_lr\.enable|{scheduler}\.'
         r'(by_epoch|convert_to_iter_based)', lambda value: isinstance(value, bool), 'True or False'),
        (r'train_cfg\.(max_epochs|max_iters|val_interval)',
         lambda value: is_number(value, 1) and value == int(value), 'a positive whole number'),
        (rf'{loader}\.(batch_size|num_batch_per_epoch|prefetch_factor)|'
         rf'{loader}\..*\.(per_class|times)|optim_wrapper\.accumulative_counts|auto_scale_lr\.base_batch_size|'
         r'default_hooks\.(logger|visualization)\.interval',
         lambda value: is_whole(value, 1), 'a positive whole number'),
        (rf'train_cfg\.val_begin|{loader}\.num_workers|{scheduler}\.(begin|end|T_max)|randomness\.seed', is_whole,
         'a whole number, 0 or more'),
        (rf'{scheduler}\.milestones', _is_list_of(is_whole), 'a list of whole numbers'),
        (r'default_hooks\.checkpoint\.(interval|max_keep_ckpts)', lambda value: value == -1 or is_whole(value, 1),
         'a positive whole number, or -1 for none'),
        (rf'{optimizer}\.(lr|weight_decay|eps|momentum)|{paramwise}\..*_mult|'
         rf'{scheduler}\.(factor|start_factor|end_factor|gamma|eta_min|power)', lambda value: is_number(value, 0),
         'a number, 0 or more'),
        (rf'{optimizer}\.betas', _is_list_of(is_share), 'a list of numbers from 0 to below 1'),
        (r'optim_wrapper\.clip_grad\.max_norm', lambda value: value == math.inf or is_number(value) and value > 0,
         'a positive number'),
    ]
    return [(re.compile(f'({pattern})$'), test, name) for pattern, test, name in rules]


_RULES = _rules()


def check_shape(config: Mapping[str, Any], path: str) -> None:
    """Check the values of the keys that are known. None is accepted, because most keys take it for "nothing".

    Args:
        config: The config as a dict.
        path: Its name, for the error.

    Raises:
        UserError: A value is of another kind, out of range or NaN, or a loader has no dataset; the message names the
            first key.
    """
    for key, value in _walk(config, ''):
        if isinstance(value, float) and math.isnan(value):
            raise UserError(f'config {path} has {key}=nan: set it to a number.')
        for pattern, test, name in _RULES:
            if value is not None and pattern.match(key) and not test(value):
                raise UserError(f'config {path} has {key}={reprlib.repr(value)}, which is not {name}: set it to one.')
        if re.match(r'(train|val|test)_dataloader$', key) and value and value.get('dataset') is None:
            raise UserError(f'config {path} has a {key} without a dataset: give it one, or set {key}=None.')


def _walk(node: Any, key: str) -> Iterator[tuple[str, Any]]:
    """Every key with dots and its value, a node before its contents."""
    items = node.items() if isinstance(node, Mapping) else enumerate(node) if isinstance(node, (list, tuple)) else ()
    for name, value in items:
        inner = f'{key}.{name}' if key else str(name)
        yield inner, value
        yield from _walk(value, inner)
