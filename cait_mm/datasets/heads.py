"""Whether the heads of a config's model have as many outputs as the data have classes."""
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

# these do not predict the classes of the data, or their outputs are set elsewhere
_PASSED_OVER = ('backbone', 'neck', 'teacher', 'distillation', 'rpn_head', 'reid', 'init_cfg', 'train_cfg', 'test_cfg')
# boundaries (STDC) and words (GLIP, Grounding DINO) instead of classes
_OTHER_OUTPUTS = ('STDCHead', 'GroundingDINOHead', 'ATSSVLFusionHead')
_CLASSIFIER_DEFAULT = 1000
StatedCount = tuple[str, int, Mapping[str, Any]]


def head_problems(model_cfg: Mapping[str, Any], classes: Sequence[str]) -> list[str]:
    """The mismatches between the heads of a model and the classes of its data, a sentence for each.

    Every head below ``model_cfg`` with ``num_classes`` (or MMDetection's ``num_things_classes`` and
    ``num_stuff_classes``) is compared: in segmentors, detectors (single heads, lists, masks, queries), classifiers with
    their mixup, and models inside wrappers. A head of one output with a sigmoid fits two classes. Backbones, teachers,
    proposals and semantic branches with classes of their own are skipped.

    Args:
        model_cfg: The config's ``model``.
        classes: The classes of the data, ``dataset.metainfo['classes']``. The names "0", "1", ... come from a list
            file, which need not hold every class; then only heads with too few outputs are reported.
    """
    have = len(classes)
    unnamed = have > 0 and list(classes) == [str(index) for index in range(have)]
    wrong: dict[int, list[str]] = {}
    problems = []
    stated = list(_counts(model_cfg, 'model'))
    # a panoptic model's boxes are of things alone
    things = {node['num_things_classes'] for key, count, node in stated if 'num_things' in key and count == have}
    for key, count, node in stated:
        if _one_output(node) and have == 2 and count in (1, 2):
            problems += _softmax_of_one(key, node)
        elif count != have and count not in things and not (unnamed and count > have):
            wrong.setdefault(count, []).append(key)
        else:
            problems += _weights(key, node, count)
    if not have:
        return ['the data name no classes: set metainfo.classes of every dataset.'] if wrong else []
    return [_sentence(keys, count, have) for count, keys in wrong.items()] + problems


def _sentence(keys: Sequence[str], count: int, have: int) -> str:
    one = len(keys) == 1
    consequence = (f'labels from {count} up would stop the run' if count < have else
                   f'outputs from {have} up would never be taught')
    return (f'{", ".join(keys)} {"is" if one else "are"} {count} and the data have {have} '
            f'{"class" if have == 1 else "classes"}, so {consequence}: set {"it" if one else "them"} to {have}, or '
            'point the loaders at the right data.')


def _counts(node: Any, key: str) -> Iterator[StatedCount]:
    """The key of every number of classes below ``node``, the number, and the head that it belongs to."""
    if isinstance(node, (list, tuple)):
        for index, part in enumerate(node):
            yield from _counts(part, f'{key}.{index}')
    elif isinstance(node, Mapping):
        yield from _stated(node, key)
        for name, part in node.items():
            if name not in _PASSED_OVER:
                yield from _counts(part, f'{key}.{name}')


def _stated(node: Mapping[str, Any], key: str) -> Iterator[StatedCount]:
    names = [name for name in key.split('.') if not name.isdigit()]
    is_head = names[-1].endswith('head') or names[-1] in ('model', 'module', 'mixup', 'panoptic_fusion_head')
    if not is_head or str(node.get('type', '')).split('.')[-1] in _OTHER_OUTPUTS or node.get('class_agnostic'):
        return
    things, stuff = node.get('num_things_classes'), node.get('num_stuff_classes')
    count = node.get('num_classes', _CLASSIFIER_DEFAULT if node.get('type') == 'Classifier' else None)
    if _is_count(things) and _is_count(stuff):
        yield f'{key}.num_things_classes + num_stuff_classes', things + stuff, node
    # HTC's and SCNet's semantic branches learn stuff from maps of their own
    elif _is_count(count) and names[-1] != 'semantic_head':
        yield f'{key}.num_classes', count, node


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _losses(node: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    losses = [node[key] for key in ('loss_decode', 'loss_cls') if key in node]
    flat = [part for loss in losses for part in (loss if isinstance(loss, (list, tuple)) else [loss])]
    return [loss for loss in flat if isinstance(loss, Mapping)]


def _one_output(node: Mapping[str, Any]) -> bool:
    """Whether the head distinguishes two classes by one output, as heads of MMSegmentation can."""
    return node.get('out_channels', node.get('num_classes')) == 1


def _softmax_of_one(key: str, node: Mapping[str, Any]) -> Iterator[str]:
    """A sentence about a softmax of one output, which is always 1; MMSegmentation's default loss is a softmax."""
    losses = _losses(node) or [dict(type='CrossEntropyLoss')]
    if any(str(loss.get('type')).split('.')[-1] == 'CrossEntropyLoss' and not loss.get('use_sigmoid')
           for loss in losses) and 'loss_cls' not in node:
        head = key.rsplit('.', 1)[0]
        yield (f'{head} has one output and a softmax as its loss, which teaches nothing: set '
               f'{head}.loss_decode.use_sigmoid=True, or out_channels=2.')


def _weights(key: str, node: Mapping[str, Any], count: int) -> Iterator[str]:
    """Sentences about class weights of another length. Detectors and Mask2Former have one more, for "no object"."""
    for loss in _losses(node):
        weights = loss.get('class_weight')
        if isinstance(weights, (list, tuple)) and len(weights) not in (count, count + 1):
            yield (f'a loss of {key.rsplit(".", 1)[0]} has {len(weights)} class weights and the head {count} classes: '
                   'give as many (one more, the last, where "no object" is a class too).')
