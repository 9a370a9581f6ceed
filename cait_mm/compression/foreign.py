"""Settings of MMSegmentation's and MMDetection's backbones converted to those of this package's equal ones."""
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from cait_mm.arch import ARCHS, Arch, DeiTArch, SwinArch, ViTArch
from cait_mm.errors import UserError
from cait_mm.models.arguments import checked_size

Settings = dict[str, Any]
IGNORED = ('type', 'init_cfg', 'pretrained', 'norm_eval', 'drop_rate', 'attn_drop_rate', 'convert_weights')
"""Settings that change no prediction. Further training does without dropout inside a backbone."""
SHARED = ('drop_path_rate', 'with_cp')
"""Settings with the same name in both."""


def as_ours(backbone: Mapping[str, Any]) -> Settings | None:
    """The settings of this package's backbone that computes the same as one of OpenMMLab's, whose weights it reads;
    None if ``backbone``, from a config, is no ViT, BEiT, MAE or Swin of OpenMMLab.

    Raises:
        UserError: This package has no backbone that computes the same.
    """
    kind = str(backbone.get('type')).rpartition('.')[2]
    if kind not in KINDS:
        return None
    convert, usual, fixed = KINDS[kind]
    given = {**usual, **{key: value for key, value in backbone.items() if key not in IGNORED}}
    for key, value in given.items():
        if key not in usual and key not in fixed and key not in SHARED:
            raise UserError(f'{kind} has {key}={value!r} in this config, which cannot be compressed: this package does '
                            'not know what it does.')
        if key in fixed and value not in fixed[key]:
            raise UserError(f'{kind} has {key}={value!r} in this config, which cannot be compressed: this package has '
                            f'no backbone with another {key} than {fixed[key][0]!r}.')
    for key, name in (('norm_cfg', 'LN'), ('act_cfg', 'GELU')):
        if given[key].get('type') != name:
            raise UserError(f'{kind} has {key} of the type {given[key].get("type")} in this config, which cannot be '
                            f'compressed: this package knows {name} alone.')
    return {**convert(given), **{key: given[key] for key in SHARED if key in given}}


def _vit(given: Settings) -> Settings:
    patch, depth, outputs, size = given['patch_size'], given['num_layers'], _outputs(given), _size(given)
    final_norm = bool(given['final_norm']) and max(outputs) == depth - 1
    arch = DeiTArch('vit', given['embed_dims'], depth, given['num_heads'], given['mlp_ratio'], patch,
                    in_channels=given['in_channels'], norm_eps=given['norm_cfg'].get('eps', 1e-5))
    return dict(type='CAITDeiT', arch=_named(arch), img_size=tuple(side // patch * patch for side in size),
                in_channels=arch.in_channels, out_indices=tuple(outputs), with_cls_token=bool(given['with_cls_token']),
                final_norm=final_norm)


def _beit(given: Settings) -> Settings:
    patch, depth, outputs = given['patch_size'], given['num_layers'], _outputs(given)
    size = tuple(side // patch * patch for side in _size(given))
    final_norm = bool(given['final_norm']) and max(outputs) == depth - 1
    arch = ViTArch('beit', given['embed_dims'], depth, given['num_heads'], given['mlp_ratio'], patch, size,
                   norm_eps=given['norm_cfg'].get('eps', 1e-5), in_channels=given['in_channels'], rel_pos_bias=True,
                   pos_embed=given.get('pos_embed', False), init_values=given['init_values'])
    return dict(type='CAITViT', arch=_named(arch), in_channels=arch.in_channels, out_indices=tuple(outputs),
                final_norm=final_norm)


def _mae(given: Settings) -> Settings:
    return _beit({**given, 'pos_embed': True})


def _size(given: Settings) -> tuple[int, int]:
    size = given['img_size']
    return checked_size('img_size', size[0] if isinstance(size, (list, tuple)) and len(size) == 1 else size)


def _outputs(given: Settings) -> list[int]:
    outputs, last = given['out_indices'], given['num_layers'] - 1
    return [last if outputs == -1 else outputs] if isinstance(outputs, int) else list(outputs)


def _swin(given: Settings) -> Settings:
    if given['norm_cfg'].get('eps', 1e-5) != 1e-5:
        raise UserError(f'SwinTransformer has norms of eps={given["norm_cfg"]["eps"]} in this config, which cannot be '
                        'compressed: those of this package have 1e-5.')
    if tuple(given['strides']) != (given['patch_size'], 2, 2, 2)[:len(given['depths'])]:
        raise UserError(f'SwinTransformer has strides={tuple(given["strides"])} in this config, which cannot be '
                        'compressed: every stage after the first halves the grid in this package.')
    arch = SwinArch('swin', given['embed_dims'], given['depths'], given['num_heads'], given['mlp_ratio'],
                    given['patch_size'], given['window_size'], in_channels=given['in_channels'], window_rule='mm')
    return dict(type='CAITSwin', arch=_named(arch), in_channels=arch.in_channels,
                out_indices=tuple(given['out_indices']), frozen_stages=given['frozen_stages'])


def _named(arch: Arch) -> str | dict[str, Any]:
    """The name of a known architecture, or the fields of another one."""
    known = next((name for name, other in ARCHS.items() if other == replace(arch, name=name)), None)
    return known or {key: value for key, value in arch.to_dict().items() if key not in ('family', 'in_channels')}


_VIT: Settings = dict(
    img_size=224, patch_size=16, in_channels=3, embed_dims=768, num_layers=12, num_heads=12, mlp_ratio=4,
    out_indices=-1, qkv_bias=True, patch_bias=False, with_cls_token=True, final_norm=False, norm_cfg=dict(type='LN'),
    act_cfg=dict(type='GELU'))
_BEIT: Settings = dict(
    img_size=224, patch_size=16, in_channels=3, embed_dims=768, num_layers=12, num_heads=12, mlp_ratio=4,
    out_indices=-1, qv_bias=True, final_norm=False, norm_cfg=dict(type='LN'), act_cfg=dict(type='GELU'),
    init_values=0.1)
_MAE: Settings = {key: value for key, value in _BEIT.items() if key != 'qv_bias'}
_SWIN: Settings = dict(
    pretrain_img_size=224, in_channels=3, embed_dims=96, patch_size=4, window_size=7, mlp_ratio=4, depths=(2, 2, 6, 2),
    num_heads=(3, 6, 12, 24), strides=(4, 2, 2, 2), out_indices=(0, 1, 2, 3), qkv_bias=True, norm_cfg=dict(type='LN'),
    act_cfg=dict(type='GELU'), frozen_stages=-1, drop_path_rate=0.1)
KINDS = {
    'VisionTransformer': (_vit, _VIT, dict(
        patch_pad=('corner', ), out_origin=(False, ), output_cls_token=(False, ), patch_norm=(False, ),
        pre_norm=(False, ), interpolate_mode=('bicubic', ), num_fcs=(2, ), frozen_exclude=(['all'], ))),
    'BEiT': (_beit, _BEIT, dict(patch_norm=(False, ), num_fcs=(2, ))),
    'MAE': (_mae, _MAE, dict(patch_norm=(False, ), num_fcs=(2, ))),
    'SwinTransformer': (_swin, _SWIN, dict(
        qk_scale=(None, ), patch_norm=(True, ), use_abs_pos_embed=(False, ))),
}
"""For each backbone: its conversion, its defaults, and the only supported values of other settings."""
