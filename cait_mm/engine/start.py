"""Files that a run starts from: pretrained weights, the checkpoint of an earlier run, a compressed classifier."""
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.logging import print_log

from cait_mm.engine.resume import with_others
from cait_mm.errors import UserError
from cait_mm.models.checkpoint import WEIGHTS_PAGE, read_checkpoint
from cait_mm.utils.files import newest_checkpoint
from cait_mm.utils.inputs import require_file


def require_weights(config: Config, resumed: bool = False) -> None:
    """Refuse a run whose model starts from a local file that is not there.

    Args:
        config: Its ``load_from`` is checked unless the run resumes from another file.
        resumed: Whether the command line names a checkpoint to resume from.

    Raises:
        UserError: A file is missing; the message names it and its key in the config.
    """
    model = dict(config.model)
    if not (model.get('distillation') or {}).get('alpha'):
        model.pop('distillation', None)  # a teacher whose loss has no weight is not loaded
    start = {} if resumed or not config.get('load_from') else {'load_from': config.load_from}
    for key, path in [*_pretrained(model, 'model'), *start.items()]:
        if '://' not in path and not Path(path).is_file():
            raise UserError(f'checkpoint {path} does not exist: see {WEIGHTS_PAGE} for how to get or make it, or give '
                            f'another with --cfg-options {key}=FILE.')


def _pretrained(node: Any, key: str) -> Iterator[tuple[str, str]]:
    """The keys and files of every ``dict(type='Pretrained', checkpoint=FILE)`` and ``teacher=FILE`` below ``node``."""
    if isinstance(node, str) and key.endswith('.teacher'):
        yield key, node
    elif isinstance(node, Mapping):
        if node.get('type') == 'Pretrained' and isinstance(node.get('checkpoint'), str):
            yield f'{key}.checkpoint', node['checkpoint']
        for name, value in node.items():
            yield from _pretrained(value, f'{key}.{name}')
    elif isinstance(node, (list, tuple)):
        for index, value in enumerate(node):
            yield from _pretrained(value, f'{key}.{index}')


def resume_from(config: Config, checkpoint: str) -> None:
    """Continue from ``checkpoint``, or for ``auto`` from the newest one in the work directory, if there is one.

    Only the Runner reads its content.

    Raises:
        UserError: It is missing, cut off or no local file; the message names the older ones that are left.
    """
    path, note = checkpoint, Path(config.work_dir, 'last_checkpoint')
    try:
        if checkpoint == 'auto':
            path = newest_checkpoint(config.work_dir)
            if path is None and note.is_file():
                raise UserError(f'{note} names no file that is there: name one, or delete it and start again.')
        elif '://' in path:
            raise UserError(f'{path} is no local file: download it first.')
        else:
            require_file(path)
    except UserError as error:
        raise with_others(error, str(note) if checkpoint == 'auto' else checkpoint) from error
    config.resume = path is not None
    if path is None:
        print_log(f'{config.work_dir} holds no checkpoint: the run starts from its beginning.', logger='current')
    else:
        config.load_from = path


def use_compressed(config: Config, path: str) -> None:
    """Make a classification config evaluate a compressed classifier, with the weights and widths of the file.

    Raises:
        UserError: The config is not for a classifier: the file has no weights for other heads.
    """
    kind = config.model.get('type')
    if kind != 'Classifier':
        raise UserError(f'{path} is a compressed classifier, and the model of this config is {kind}: give a '
                        'checkpoint that was trained with it, or a compress_* config.')
    config.model.backbone.init_cfg = dict(type='Pretrained', checkpoint=path)
    config.model.update(cdcp=None, distillation=None, new_head=False)
    if len(read_checkpoint(path).state_dict.get('head.weight', ())) == config.model.get('num_classes', 1000):
        config.model.head_rows = None
