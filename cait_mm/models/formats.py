"""The formats of checkpoint files: where training scripts keep a backbone's weights, and under which names."""
import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from cait_mm.errors import UserError
from cait_mm.utils.weights import WEIGHTS

Weights = dict[str, Tensor]

HEADS = ('head', 'aux_head', 'head_dist')
HEAD_KEYS = tuple(f'{name}.' for name in HEADS)
"""The keys of a classifier's checkpoint behind the backbone that classifiers here use."""

_DINO_HEAD = ('head.mlp.', 'head.last_layer.')
"""The head of DINO's pretraining, which is no classifier's."""
_WRAPPERS = ('_orig_mod', '_fsdp_wrapped_module', '_checkpoint_wrapped_module')
"""Parts of names that ``torch.compile``, FSDP and recomputation put in."""
_DIMENSIONS = ((r'patch_embed\.proj\.weight', 4), (r'pos_embed|cls_token', 3),
               (r'head\.weight|.*\bblocks\..*\.(attn\.qkv|attn\.proj|mlp\.fc1|mlp\.fc2)\.weight', 2),
               (r'.*\.relative_position_bias_table', 2))
"""Dimensions of the tensors whose shapes determine the sizes of a model."""


def find_weights(path: str, content: Any) -> tuple[Weights, list[str]]:
    """The weights in a file's content under the names of the model that was saved, and sentences for the log.

    ``{'state_dict': ...}``, ``{'model': ...}``, their averaged twins and bare state dicts are understood
    (:data:`~cait_mm.utils.weights.WEIGHTS` is the order of preference), and so are the prefixes of DDP (``module.``),
    FSDP, ``torch.compile`` (``_orig_mod.``) and Lightning (``model.``).

    Raises:
        UserError: There are no weights in it.
    """
    notes: list[str] = []
    weights = content
    if isinstance(content, Mapping):
        places = [key for key in WEIGHTS if isinstance(content.get(key), Mapping)]
        if places:
            weights = content[places[0]]
            left = f', not those under {", ".join(places[1:])}' if places[1:] else ''
            if left or places[0] not in ('state_dict', 'model'):
                notes.append(f'the weights are those under {places[0]}{left}')
    if not isinstance(weights, Mapping) or not any(isinstance(value, Tensor) for value in weights.values()):
        raise UserError(f'checkpoint {path} holds no state_dict{_keys(weights)}: its weights have to stand under one '
                        f'of {", ".join(WEIGHTS)}, or be all that it holds.')
    tensors = {str(key): value for key, value in weights.items() if isinstance(value, Tensor)}
    return without_wrappers(tensors, notes), notes


def without_wrappers(weights: Weights, notes: list[str]) -> Weights:
    """Names without the prefixes of DDP, FSDP, ``torch.compile`` and Lightning; adds to ``notes``."""
    weights = {'.'.join(part for part in key.split('.') if part not in _WRAPPERS): value
               for key, value in weights.items()}
    while all(key.startswith('module.') for key in weights):
        weights = {key.removeprefix('module.'): value for key, value in weights.items()}
    return weights if _is_bare(weights) else _part_of(weights, 'model.', notes)


def without_students(weights: Weights, notes: list[str]) -> Weights:
    """The teacher's weights where all are a teacher's or a student's by their names (``teacher.``, ``student.``), and
    the student's where there is no teacher; adds to ``notes``.
    """
    for owner in () if _is_bare(weights) else ('teacher.', 'student.'):
        if any(key.startswith(owner) for key in weights):
            return without_wrappers(_part_of(weights, owner, notes), notes)
    return weights


def _is_bare(weights: Weights) -> bool:
    """Whether a model's own backbone is there without a prefix; others with one, such as a teacher, are not its own."""
    return any(key.startswith(('backbone.', 'patch_embed.', 'embeddings.')) for key in weights)


def _part_of(weights: Weights, prefix: str, notes: list[str]) -> Weights:
    """The weights under ``prefix``, all of them where there are none; adds to ``notes``."""
    inside = {key.removeprefix(prefix): value for key, value in weights.items() if key.startswith(prefix)}
    left = [key for key in weights if not key.startswith(prefix)]
    if inside and left:
        notes.append(f'{len(left)} tensors outside {prefix}, such as {left[0]}, are left out')
    return inside or weights


def backbone_of(weights: Weights) -> Weights:
    """The weights of the backbone in an OpenMMLab model and of a classifier's head; other weights are unchanged."""
    if any(key.startswith('backbone.') for key in weights):
        weights = {key.removeprefix('backbone.'): value for key, value in weights.items()
                   if key.startswith(('backbone.', *HEAD_KEYS)) and not key.startswith(_DINO_HEAD)}
    if 'layers.0.blocks.0.norm1.weight' in weights:  # a Swin, whose head timm wraps
        weights = {re.sub(r'^head\.fc\.', 'head.', key): value for key, value in weights.items()}
    return weights


def check_dimensions(path: str, weights: Weights) -> None:
    """Raise if a tensor that determines the sizes of the model is empty or has another number of dimensions."""
    for name, value in weights.items():
        wanted = next((number for pattern, number in _DIMENSIONS if re.fullmatch(pattern, name)), value.dim())
        if value.dim() != wanted or not value.numel():
            raise UserError(f'checkpoint {path}: {name} has the shape {tuple(value.shape)}, and it needs {wanted} '
                            'dimensions with something in them: use another checkpoint.')
    if 'cls_token' in weights and 'pos_embed' in weights and weights['pos_embed'].shape[1] < 2:
        raise UserError(f'checkpoint {path}: pos_embed has the shape {tuple(weights["pos_embed"].shape)}, no position '
                        'for a patch: use another checkpoint.')


def as_plain_vit(path: str, weights: Weights) -> tuple[Weights, list[str]]:
    """A relative of DeiT as a plain DeiT that computes the same, and sentences for the log.

    DeiT-III and timm's ``no_embed_class`` have no position for CLS: a zero is put there. Layer scale (``ls1.gamma`` in
    timm, ``gamma_1`` in DeiT-III's files) multiplies the output of a residual branch, so it goes into the branch's last
    linear layer.

    Raises:
        UserError: It has tokens that this package's models do not have (a distilled DeiT's, registers).
    """
    if 'blocks.0.attn.qkv.weight' not in weights or 'pos_embed' not in weights:
        return weights, []
    _refuse_more_tokens(path, weights)
    weights, notes = dict(weights), []
    pos_embed = weights['pos_embed']
    if 'cls_token' in weights and pos_embed.dim() == 3 and _is_square(pos_embed.shape[1]):
        zero = torch.zeros_like(pos_embed[:, :1])
        weights['pos_embed'] = torch.cat([zero, pos_embed], dim=1)
        notes.append(f'its {pos_embed.shape[1]} positions have none for CLS, which gets zeros')
    scales = [key for key in weights if re.fullmatch(r'blocks\.\d+\.(gamma_[12]|ls[12]\.gamma)', key)]
    for key in scales:
        block, branch = '.'.join(key.split('.')[:2]), 'attn.proj' if '1' in key.split('.', 2)[2] else 'mlp.fc2'
        _scale(weights, f'{block}.{branch}', key)
    if scales:
        notes.append('layer scale is multiplied into attn.proj and mlp.fc2')
    return weights, notes


def _refuse_more_tokens(path: str, weights: Mapping[str, Tensor]) -> None:
    registers = next((key for key in ('reg_token', 'register_tokens') if key in weights), None)
    if 'dist_token' in weights:
        what, name = 'a distilled DeiT, with a token of its own (dist_token)', 'deit_small_distilled_patch16_224'
    elif registers:
        what, name = f'a ViT with register tokens ({registers})', 'vit_small_patch14_reg4_dinov2'
    else:
        return
    raise UserError(f'checkpoint {path} is {what}. That takes part in attention, so leaving it out would change '
                    f'the model: name its architecture as timm does, such as {name}.')


def _scale(weights: Weights, layer: str, gamma: str) -> None:
    """Multiply a linear layer's outputs by ``gamma``, which is taken out of ``weights``."""
    names = [name for name in (f'{layer}.weight', f'{layer}.bias') if name in weights]
    if not names or any(len(weights[name]) != weights[gamma].numel() for name in names):
        return  # strict loading reports it
    scale = weights.pop(gamma).flatten().double()
    for name in names:
        value = weights[name]
        weights[name] = (value.double() * scale.view(-1, *[1] * (value.dim() - 1))).to(value.dtype)


def _is_square(number: int) -> bool:
    return number > 1 and round(number**0.5)**2 == number


def _keys(content: Any) -> str:
    if not isinstance(content, Mapping):
        return f' (it is a {type(content).__name__})'
    keys = ', '.join(str(key)[:40] for key in list(content)[:6])
    return f' (it has {keys}{", ..." if len(content) > 6 else ""})' if keys else ' (it is empty)'
