"""The config of a compressed model: the dense config, with the merges and widths of the backbone written out."""
import inspect
from collections.abc import Mapping
from typing import Any

import numpy as np
from mmengine.config import Config
from mmengine.runner import Runner

from cait_mm.config.outcome import told
from cait_mm.models import Backbone
from cait_mm.pruning.tune import Tuned

MORE_KEYS = ('custom_imports', 'test_pipeline', 'tta_model', 'tta_pipeline', 'auto_scale_lr',
             'strategy', 'model_wrapper_cfg')
"""Keys at the top level of a config that are read by something other than the Runner."""
WIDTHS = ('qk_dim', 'v_dim', 'ffn_dim')


def config_of(config: Config, backbone: Backbone) -> Config:
    """A copy of ``config`` whose backbone is described as ``backbone`` is, and that needs no other file.

    Variables that only serve to define other values are left out.
    """
    read = {*inspect.signature(Runner.__init__).parameters, *MORE_KEYS}
    small = Config({key: value for key, value in config.to_dict().items() if key in read or not _is_structure(value)})
    spec, settings = backbone.spec, small.model.backbone
    settings.init_cfg = None
    if settings.pop('spec', None):
        settings.arch = spec.arch.to_dict()
    for key in ('merge', 'tokens', *WIDTHS):
        settings.pop(key, None)
    if spec.tokens is None:
        settings['merge'] = [tuple(merge) for merge in spec.merges]
    else:
        settings['tokens'] = spec.tokens.to_dict()
    if spec.is_pruned:
        settings.update({key: [getattr(block, key) for block in spec.blocks] for key in WIDTHS})
    if spec.merges or spec.tokens:
        settings.restore_mode = backbone.restore_mode
    imports = small.get('custom_imports') or dict(imports=[], allow_failed_imports=False)
    named = [imports['imports']] if isinstance(imports['imports'], str) else list(imports['imports'])
    small.custom_imports = {**imports, 'imports': list(dict.fromkeys(['cait_mm', *named]))}
    small.update(load_from=None, resume=False)
    small.pop('work_dir', None)
    return small


def config_text(config: Config, result: Mapping[str, Any]) -> str:
    """The file of a compressed model's config, which begins with a comment about the compression; ``result`` comes from
    :meth:`~cait_mm.compression.model.Compressed.result`.
    """
    lines = [f'{result["config"]} with the weights of {result["source"]}, compressed without labels by '
             'tools/compress.py.', *changes(result),
             'python tools/test.py config.py model.pth evaluates it; to train it further, --cfg-options '
             'load_from=model.pth.']
    return ''.join(f'# {line}\n' for line in lines) + config.pretty_text


def changes(result: Mapping[str, Any]) -> list[str]:
    """The changes to a model, in lines for people; ``result`` as in :func:`config_text`."""
    merges = ', '.join(f'{kind} before block {block}' for block, kind in result['spec']['merges']) or 'none'
    lines = [f'Merges: {merges}.']
    for part, what in (('backbone', 'Backbone'), ('overall', 'Whole model')):
        before, after = (result[name][part] for name in ('dense', 'small'))
        lines.append(f'{what} on {result["img_size"][0]}x{result["img_size"][1]} pixels: '
                     f'{before["macs"] / 1e9:.2f} => {after["macs"] / 1e9:.2f} GMACs, '
                     f'{before["params"] / 1e6:.2f} => {after["params"] / 1e6:.2f} M parameters.')
    if 'tuned' in result:
        fields = {key: value for key, value in result['tuned'].items() if key != 'images'}
        lines += told(Tuned(**fields)).splitlines()
    return lines


def plain(value: Any) -> Any:
    """``value`` in types that any reader of weights accepts: arrays as lists, tuples and mappings kept."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(plain(item) for item in value) if type(value) in (list, tuple) else list(map(plain, value))
    if isinstance(value, np.ndarray):
        return value.tolist()
    return value.item() if isinstance(value, np.generic) else value


def _is_structure(value: Any) -> bool:
    return isinstance(value, Mapping) or isinstance(value, (list, tuple)) and any(map(_is_structure, value))
