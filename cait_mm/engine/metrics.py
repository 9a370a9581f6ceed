"""The names of the metrics that an evaluator gives: a run that asks for another stops after its first validation."""
from collections.abc import Callable, Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Any

Names = Callable[[Mapping[str, Any]], list[str]]


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else [value]


def _iou(node: Mapping[str, Any]) -> list[str]:
    given = {'mIoU': ['mIoU', 'mAcc'], 'mDice': ['mDice', 'mAcc'], 'mFscore': ['mFscore', 'mPrecision', 'mRecall']}
    return ['aAcc', *(name for metric in _listed(node.get('iou_metrics', 'mIoU')) for name in given.get(metric, ()))]


def _coco(node: Mapping[str, Any]) -> list[str]:
    names = []
    for metric in _listed(node.get('metric', 'bbox')):
        if metric == 'proposal_fast':
            names += [f'AR@{count}' for count in node.get('proposal_nums', (100, 300, 1000))]
        elif metric == 'proposal':
            names += node.get('metric_items') or ['AR@100', 'AR@300', 'AR@1000', 'AR_s@1000', 'AR_m@1000', 'AR_l@1000']
        else:
            items = node.get('metric_items') or ['mAP', 'mAP_50', 'mAP_75', 'mAP_s', 'mAP_m', 'mAP_l']
            names += [f'{metric}_{item}' for item in items]
    return names + ['*_precision'] * bool(node.get('classwise'))


def _dice(defaults: tuple[str, ...], unit: str) -> Names:
    names = {'dice': 'Dice', 'iou': 'IoU', 'hd95': 'HD95'}
    return lambda node: [*(f'm{names.get(measure)}' for measure in node.get('measures', defaults)),
                         *(f'{names.get(measure)}.*' for measure in node.get('measures', defaults)), unit]


_KNOWN: dict[str, tuple[str, Names]] = {
    'IoUMetric': ('', _iou), 'CocoMetric': ('coco', _coco), 'VolumeDice': ('', _dice(('dice', 'hd95'), 'volumes')),
    'ImageDice': ('', _dice(('dice', 'iou'), 'images')),
    'TopK': ('', lambda node: [f'top{k}' for k in node.get('topk', (1, 5))]),
}
"""By class: the default prefix and the names of its metrics, with ``*`` for any word."""


def metric_names(evaluator: Any) -> list[str] | None:
    """The names of the metrics of an evaluator's config, with ``*`` for any word; None if the evaluator is unknown."""
    if isinstance(evaluator, Mapping) and 'metrics' in evaluator:
        return metric_names(evaluator['metrics'])
    result = []
    for node in _listed(evaluator):
        kind = node.get('type') if isinstance(node, Mapping) else None
        default, names = _KNOWN.get(str(getattr(kind, '__name__', kind)).rpartition('.')[2], (None, None))
        if names is None:
            return None
        prefix = node.get('prefix') or default
        given = [] if node.get('format_only') else names(node)
        result += [f'{prefix}/{name}' if prefix else name for name in given]
    return result


def metric_problems(config: Mapping[str, Any]) -> list[str]:
    """One sentence per metric that a hook of ``config`` asks for and its ``val_evaluator`` does not give."""
    given = metric_names(config['val_evaluator']) if config.get('val_evaluator') else None
    if given is None:
        return []
    listed = ', '.join(given) or 'none'
    return [f'{key}={name!r} is no metric of val_evaluator, which gives {listed}: the run would stop after its first '
            f'validation, so set it to one of these.'
            for key, name in _wanted(config) if not any(fnmatchcase(name, pattern) for pattern in given)]


def _wanted(config: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    hooks = [*((f'default_hooks.{name}', hook) for name, hook in (config.get('default_hooks') or {}).items()),
             *((f'custom_hooks.{index}', hook) for index, hook in enumerate(config.get('custom_hooks') or ()))]
    for key, hook in hooks:
        for option in ('save_best', 'monitor'):  # CheckpointHook, EarlyStoppingHook
            for name in _listed((hook or {}).get(option)):
                if isinstance(name, str) and name != 'auto':
                    yield f'{key}.{option}', name
