"""The forms in which other projects save a plain ViT, brought to timm's names and shapes.

A form is told by the names of its tensors, never by the name of the file. Names are rewritten by a table; the few
tensors that are laid out in another way are rewritten by functions. Tensors that no model of this package has, such as
a decoder of the pretraining, are left out by name, and all others stay, so that strict loading reports the unknown.
"""
import math
import re
from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from cait_mm.errors import UserError, reason_of
from cait_mm.models.linear_layers import join_layers, with_biases

Weights = dict[str, Tensor]
Names = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Form:
    """How a project names a plain ViT's weights. Patterns are regular expressions."""

    title: str
    mark: str
    """Of a name that this form has, and no later one."""
    names: Names
    """Patterns and their replacements, applied one after the other."""
    left: str = '(?!)'
    """Of the names of tensors that belong to no model of this package."""
    convert: tuple[Callable[[Weights], Weights], ...] = ()
    """What is done to the tensors after they are renamed."""
    biased: tuple[str, ...] = ()
    """Layers that may lack their bias, for which zeros are put in."""


_MM: Names = (
    (r'^ln1\.', 'norm.'), (r'^ln2\.', 'fc_norm.'), (r'^(?:pre_norm|ln_pre)\.', 'norm_pre.'),
    (r'^layers\.(\d+)\.', r'blocks.\1.'), (r'^patch_embed\.projection\.', 'patch_embed.proj.'),
    (r'\.ln([12])\.', r'.norm\1.'),
    (r'\.attn\.attn\.in_proj_', '.attn.qkv.'), (r'\.attn\.attn\.out_proj\.', '.attn.proj.'),
    (r'\.ffn\.layers\.0\.0\.', '.mlp.fc1.'), (r'\.ffn\.layers\.1\.', '.mlp.fc2.'), (r'\.ffn\.w12\.', '.mlp.fc1.'),
    (r'\.ffn\.w3\.', '.mlp.fc2.'), (r'\.(?:attn|ffn)\.gamma([12])\.weight$', r'.ls\1.gamma'),
    (r'^head\.(?:fc|layers\.head)\.', 'head.'), (r'^head\.layers\.head_dist\.', 'head_dist.'),
    (r'^head\.layers\.pre_logits\.', 'pre_logits.fc.'))
_OPENAI: Names = (
    (r'^class_embedding$', 'cls_token'), (r'^positional_embedding$', 'pos_embed'),
    (r'^conv1\.', 'patch_embed.proj.'), (r'^ln_pre\.', 'norm_pre.'), (r'^ln_post\.', 'norm.'),
    (r'^proj$', 'projection'), (r'^transformer\.resblocks\.', 'blocks.'), (r'\.ln_([12])\.', r'.norm\1.'),
    (r'\.attn\.in_proj_', '.attn.qkv.'), (r'\.attn\.out_proj\.', '.attn.proj.'), (r'\.mlp\.c_fc\.', '.mlp.fc1.'),
    (r'\.mlp\.c_proj\.', '.mlp.fc2.'), (r'\.ls_([12])\.', r'.ls\1.'))
_OPENCLIP_TIMM: Names = ((r'^trunk\.', ''), (r'^head\.proj\.', 'head.'))
_HUGGING_FACE_CLIP: Names = (
    (r'^vision_model\.', ''), (r'^embeddings\.class_embedding$', 'cls_token'),
    (r'^embeddings\.position_embedding\.weight$', 'pos_embed'),
    (r'^embeddings\.patch_embedding\.', 'patch_embed.proj.'), (r'^pre_layrnorm\.', 'norm_pre.'),
    (r'^post_layernorm\.', 'norm.'), (r'^encoder\.layers\.', 'blocks.'), (r'\.layer_norm([12])\.', r'.norm\1.'),
    (r'\.self_attn\.([qkv])_proj\.', r'.attn.\1_proj.'), (r'\.self_attn\.out_proj\.', '.attn.proj.'),
    (r'^head\.probe$', 'attn_pool.latent'), (r'^head\.attention\.in_proj_', 'attn_pool.qkv.'),
    (r'^head\.attention\.out_proj\.', 'attn_pool.proj.'), (r'^head\.layernorm\.', 'attn_pool.norm.'),
    (r'^head\.mlp\.', 'attn_pool.mlp.'), (r'^visual_projection\.', 'head.'))
_PART = r'^(?:vit|deit|dinov2|dinov2_with_registers|dinov3_vit)\.'
"""The part of Hugging Face's classifiers that is the backbone."""
_HUGGING_FACE: Names = (
    (_PART, ''), (r'^embeddings\.patch_embeddings\.(?:projection\.)?', 'patch_embed.proj.'),
    (r'^embeddings\.position_embeddings$', 'pos_embed'), (r'^embeddings\.distillation_token$', 'dist_token'),
    (r'^embeddings\.register_tokens$', 'reg_token'), (r'^embeddings\.', ''), (r'^layernorm\.', 'norm.'),
    (r'^(?:(?:model|encoder)\.)?layers?\.', 'blocks.'), (r'\.layernorm_before\.', '.norm1.'),
    (r'\.layernorm_after\.', '.norm2.'), (r'\.layer_scale([12])\.lambda1$', r'.ls\1.gamma'),
    (r'\.attention\.attention\.(q|k|v)(?:uery|ey|alue)\.', r'.attn.\1_proj.'),
    (r'\.attention\.([qkv])_proj\.', r'.attn.\1_proj.'), (r'\.attention\.(?:output\.dense|o_proj)\.', '.attn.proj.'),
    (r'\.(?:intermediate\.dense|mlp\.weights_in)\.', '.mlp.fc1.'),
    (r'\.(?:output\.dense|mlp\.weights_out|mlp\.down_proj)\.', '.mlp.fc2.'), (r'\.mlp\.gate_proj\.', '.mlp.fc1_g.'),
    (r'\.mlp\.up_proj\.', '.mlp.fc1_x.'), (r'^(?:cls_)?classifier\.', 'head.'),
    (r'^distillation_classifier\.', 'head_dist.'))
_META: Names = (
    (r'^blocks\.\d+\.(\d+)\.', r'blocks.\1.'), (r'^(?:register|storage)_tokens$', 'reg_token'),
    (r'\.mlp\.w12\.', '.mlp.fc1.'), (r'\.mlp\.w1\.', '.mlp.fc1_g.'), (r'\.mlp\.w2\.', '.mlp.fc1_x.'),
    (r'\.mlp\.w3\.', '.mlp.fc2.'), (r'^rope_embed\.periods$', 'rope.periods'))
_EVA: Names = ((r'\.(?:inner_attn|ffn)_ln\.', '.norm.'), *_META)


def _in_one_layer(weights: Weights) -> Weights:
    """Queries, keys and values of every block in one layer; a gateless FFN's only first layer gets its name.

    Raises:
        KeyError: The keys of some blocks have a bias and those of others have none.
    """
    biased = any(key.endswith('.attn.k_proj.bias') for key in weights)
    for path in sorted({key[:match.end()] for key in weights if (match := re.match(r'blocks\.\d+\.', key))}):
        if biased and f'{path}attn.k_proj.bias' not in weights:
            raise KeyError(f'{path}attn.k_proj.bias')
        join_layers(weights, f'{path}attn.qkv', tuple(f'{path}attn.{part}_proj' for part in 'qkv'))
        for end in ('weight', 'bias'):
            if f'{path}mlp.fc1_g.{end}' not in weights and f'{path}mlp.fc1_x.{end}' in weights:
                weights[f'{path}mlp.fc1.{end}'] = weights.pop(f'{path}mlp.fc1_x.{end}')
    return weights


def _registers_behind_positions(weights: Weights) -> Weights:
    """DINOv2 puts registers between CLS and the patches after positions were added; CLS takes its position along."""
    if {'reg_token', 'cls_token', 'pos_embed'} <= set(weights):
        weights['cls_token'] = sum(_alike(weights['cls_token'], weights['pos_embed'][:, :1]))
        weights['pos_embed'] = weights['pos_embed'][:, 1:]
    return weights


def _masked_biases(weights: Weights) -> Weights:
    """DINOv3 multiplies biases by masks that silence those of the keys."""
    for key in [key for key in weights if key.endswith('.attn.qkv.bias_mask')]:
        bias, mask = key.removesuffix('_mask'), weights.pop(key)
        weights[bias] = math.prod(_alike(weights[bias], mask.to(weights[bias].dtype)))
    return weights


def _alike(one: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
    """Both tensors; raises a RuntimeError where their shapes differ, which PyTorch would broadcast."""
    if one.shape != other.shape:
        raise RuntimeError(f'{tuple(one.shape)} and {tuple(other.shape)} have to be equal')
    return one, other


def _clip_shapes(weights: Weights) -> Weights:
    """CLS and positions with a batch axis, the projection to the common space as a head without a bias, and attention
    pooling with its queries apart."""
    for name, value in (('cls_token', weights.get('cls_token')), ('pos_embed', weights.get('pos_embed'))):
        if value is not None:
            weights[name] = value.view(1, -1, value.shape[-1])
    if 'projection' in weights:
        weights['head.weight'] = weights.pop('projection').T
    for end in ('weight', 'bias'):
        if f'attn_pool.qkv.{end}' in weights:
            rows = weights.pop(f'attn_pool.qkv.{end}')
            dim = len(rows) // 3
            weights[f'attn_pool.q.{end}'], weights[f'attn_pool.kv.{end}'] = rows[:dim], rows[dim:]
    return weights


FORMS = (
    Form('OpenAI\'s CLIP or OpenCLIP', r'^class_embedding$', _OPENAI,
         convert=(_clip_shapes, ), biased=('patch_embed.proj', 'head')),
    Form('OpenCLIP with a tower of timm', r'^trunk\.', _OPENCLIP_TIMM, biased=('head', )),
    Form('Hugging Face\'s CLIP or SigLIP', r'(?:^|\.)embeddings\.patch_embedding\.', _HUGGING_FACE_CLIP,
         r'^text_|^logit_(?:scale|bias)$|(?:^|\.)embeddings\.position_ids$|^classifier\.',
         (_clip_shapes, _in_one_layer), ('head', )),
    Form('Hugging Face\'s ViT, DeiT or DINO', r'(?:^|\.)embeddings\.patch_embeddings\.', _HUGGING_FACE,
         r'(?:^|\.)embeddings\.mask_token$|(?:^|\.)pooler\.|^decoder\.', (_in_one_layer, _registers_behind_positions)),
    Form('OpenMMLab\'s VisionTransformer', r'^layers\.0\.(?:ln1|attn\.attn)\.', _MM, r'^mask_token$',
         biased=('patch_embed.proj', 'attn.qkv', 'attn.proj')),
    Form('EVA-02 or EVA-CLIP', r'(?:^|\.)rope\.freqs_(?:cos|sin)$|\.(?:inner_attn|ffn)_ln\.', _EVA,
         r'(?:^|\.)rope\.freqs_(?:cos|sin)$|^mask_token$|^lm_head\.'),
    Form('DINOv3', r'^storage_tokens$|^rope_embed\.|\.attn\.qkv\.bias_mask$', _META, r'^mask_token$|^local_cls_norm\.',
         (_masked_biases, )),
    Form('DINOv2', r'^register_tokens$|^blocks\.\d+\.\d+\.|\.mlp\.w12\.', _META, r'^mask_token$',
         (_registers_behind_positions, )),
    Form('timm, with parts of a pretraining with masks', r'^mask_token$|^decoder_', (),
         r'^mask_token$|^decoder_|^lm_head\.'),
)
"""In the order in which they are tried."""


def timm_names(path: str, weights: Weights) -> tuple[Weights, list[str]]:
    """Weights of a plain ViT in any of :data:`FORMS` under timm's names, and sentences for the log; others as they are.

    Of CLIP's two towers it is the one of images (``visual.``).

    Raises:
        UserError: Two tensors would have one name, or the shapes are not those of the form.
    """
    tower = 'visual.' if any(key.startswith('visual.') for key in weights) else ''
    kept = {key.removeprefix(tower): value for key, value in weights.items() if key.startswith(tower)}
    left = [key for key in weights if not key.startswith(tower)]
    form = next((form for form in FORMS if any(re.search(form.mark, key) for key in kept)), None)
    notes = []
    if form is not None:
        left += [key for key in kept if re.search(form.left, key)]
        notes.append(f'its names are those of {form.title}')
        try:
            kept = _renamed({key: value for key, value in kept.items() if not re.search(form.left, key)}, form.names)
            for convert in form.convert:
                kept = convert(kept)
            kept = with_biases(kept, form.biased)
        except (IndexError, KeyError, RuntimeError, TypeError) as error:
            raise UserError(f'checkpoint {path} has the names of {form.title} and not its shapes ({reason_of(error)}): '
                            'use another checkpoint.') from error
    if left:
        more = f' and {len(left) - 1} more' if len(left) > 1 else ''
        notes.append(f'{left[0]}{more} left out, which no model here has')
    return kept, notes


def _renamed(weights: Weights, names: Names) -> Weights:
    """Every name with all patterns of ``names`` replaced.

    Raises:
        KeyError: Two tensors would have the same name.
    """
    renamed: Weights = {}
    for old, value in weights.items():
        key = old
        for pattern, name in names:
            key = re.sub(pattern, name, key)
        if key in renamed:
            raise KeyError(f'two tensors are {key}, one of them {old}')
        renamed[key] = value
    return renamed
