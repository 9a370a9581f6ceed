"""Plain ViTs by their names in timm: the architecture is read off the model that timm itself builds.

timm's constructors resolve defaults that depend on each other (where the final norm stands, whether the patches have a
bias), and a name's tag can change the image. The model is built on PyTorch's meta device, which holds shapes and no
numbers, and its modules are read: nothing is downloaded, nothing is drawn from a generator, and no table of names has
to follow timm's.
"""
import math
from functools import cache
from typing import Any

import torch
from timm import create_model, list_models
from timm.layers import AttentionPoolLatent, GluMlp, Mlp, RmsNorm, SwiGLU
from timm.models import is_model, is_model_in_modules
from timm.models.beit import Block as BeitBlock
from timm.models.deit import VisionTransformerDistilled
from timm.models.eva import Eva, EvaBlock, EvaBlockPostNorm
from timm.models.vision_transformer import Block, ParallelScalingBlock, ParallelThingsBlock, ResPostBlock
from torch import nn

from cait_mm.arch.vit import Rope, ViTArch
from cait_mm.errors import UserError, shown

MODULES = ('vision_transformer', 'deit', 'eva', 'beit')
"""timm's modules of plain ViTs."""
OTHERS = {
    'vision_transformer_relpos': 'its positions are a network or a table of offsets, in a form that is unknown here',
    'vision_transformer_sam': 'its attention is in windows with tables of offsets',
    'vision_transformer_hybrid': 'its patches come from a convolutional network',
    'naflexvit': 'it packs images of several shapes into one sequence, which is no grid',
}
"""Relatives that are left out, by timm's module, and why."""
BLOCKS = {Block: 'pre', EvaBlock: 'pre', ResPostBlock: 'post', EvaBlockPostNorm: 'post',
          ParallelScalingBlock: 'parallel', ParallelThingsBlock: 'pre', BeitBlock: 'pre'}
ACTIVATIONS = {'GELU': 'gelu', 'GELUTanh': 'gelu_tanh', 'QuickGELU': 'quick_gelu'}
ROPES = {'RotaryEmbeddingCat': 'cat', 'RotaryEmbeddingMixed': 'mixed', 'RotaryEmbeddingDinoV3': 'dinov3'}


def is_timm_name(name: str) -> bool:
    """Whether timm has a model of this name, with or without ``timm/`` before it and a tag of its weights behind."""
    return is_model(name.removeprefix('timm/').partition('.')[0])


@cache
def timm_arch(name: str, **overrides: Any) -> ViTArch:
    """The architecture of a plain ViT of timm.

    Args:
        name: ``vit_small_patch14_dinov2``, with or without ``timm/`` before it and a tag such as ``.lvd142m`` behind.
        overrides: Arguments of timm's constructor, to make it smaller.

    Raises:
        UserError: timm has no such model, or it is none that this package can be; the sentence says why.
    """
    plain = name.removeprefix('timm/')
    if not is_timm_name(name):
        raise UserError(f'timm has no model {shown(plain)}: timm.list_models("vit_*") lists those it has.')
    base = plain.partition('.')[0]
    if not is_model_in_modules(base, set(MODULES)):
        why = next((why for module, why in OTHERS.items() if is_model_in_modules(base, {module})),
                   'it is no plain ViT, and those of timm stand in its modules ' + ', '.join(MODULES))
        raise _refused(plain, why)
    try:
        with torch.device('meta'):
            model = create_model(plain, pretrained=False, **overrides)
    except RuntimeError as error:  # an unknown tag
        raise UserError(f'timm cannot build {shown(plain)} ({error}): its weights have the tags '
                        f'{", ".join(list_models(f"{base}.*", pretrained=True)) or "of none"}.') from error
    return arch_of(plain, model)


def arch_of(name: str, model: nn.Module) -> ViTArch:
    """The architecture of a model that timm has built, called ``name``.

    Raises:
        UserError: It has a part that the family does not.
    """
    why = _why_not(model)
    if why:
        raise _refused(name, why)
    return _described(name, model)


def _refused(name: str, why: str) -> UserError:
    return UserError(f'{name} of timm is no model of this package: {why}.')


def _why_not(model: nn.Module) -> str:
    """The reason why a model cannot be of this family; empty where it can."""
    block = model.blocks[0]
    attention = _attention(block)
    groups = {getattr(_attention(item), 'num_kv_groups', 1) for item in model.blocks}
    if 'Diff' in type(block).__name__ or 'Diff' in type(attention).__name__:
        return 'its attention is the difference of two, which have no channels of their own to cut'
    if groups != {1}:
        return 'several of its heads share keys and values, and heads lose their channels one by one here'
    if type(block) not in BLOCKS or getattr(block, 'out_proj', None) is not None:
        return f'its blocks are of a form ({type(block).__name__}) that is unknown here'
    if getattr(attention, 'gate', None) is not None:
        return 'its attention has a gate'
    if getattr(model, 'rope', None) is not None and type(model.rope).__name__ not in ROPES:
        return f'its rotary positions are of a form ({type(model.rope).__name__}) that is unknown here'
    if getattr(model, 'rel_pos_bias', None) is not None:
        return 'its blocks share one table of offsets, and each has its own here'
    pool = getattr(model, 'attn_pool', None)
    if pool is not None and not isinstance(pool, AttentionPoolLatent):
        return f'its pooling is of a form ({type(pool).__name__}) that is unknown here'
    if model.global_pool not in ('token', 'avg', 'map'):
        return f'its pooling ({model.global_pool or "none"}) is unknown here'
    return ''


def _attention(block: nn.Module) -> nn.Module:
    """The module with the heads: in ViT-22B's blocks the block itself, in parallel ones the first."""
    return block.attns[0].attn if hasattr(block, 'attns') else getattr(block, 'attn', block)


def _described(name: str, model: nn.Module) -> ViTArch:
    """A model without the features of :func:`_why_not`, as data."""
    block = model.blocks[0]
    attention, branches = _attention(block), len(getattr(block, 'attns', [block]))
    parallel, patch = isinstance(block, ParallelScalingBlock), model.patch_embed
    head_dim, norm = _head_dim(attention), block.in_norm if parallel else _first_norm(block)
    ffn, hidden, ffn_norm = _ffn(block)
    mapped, registers = getattr(model, 'attn_pool', None), getattr(model, 'reg_token', None)
    return ViTArch(
        name, model.embed_dim, len(model.blocks), attention.num_heads * branches,
        mlp_ratio=_ratio(hidden * branches, model.embed_dim), patch_size=patch.patch_size[0],
        img_size=tuple(patch.img_size), in_channels=patch.proj.in_channels, norm_eps=norm.eps,
        attn_head_dim=None if head_dim * attention.num_heads * branches == model.embed_dim else head_dim,
        class_token=model.cls_token is not None, dist_token=isinstance(model, VisionTransformerDistilled),
        reg_tokens=0 if registers is None else registers.shape[1],
        pos_embed=model.pos_embed is not None,
        no_embed_class=model.pos_embed is not None and getattr(model, 'no_embed_class', False),
        rope=_rope(getattr(model, 'rope', None)),
        rel_pos_bias=getattr(attention, 'relative_position_bias_table', None) is not None,
        embed_norm=_has(patch, 'norm'), pre_norm=_has(model, 'norm_pre'), block=BLOCKS[type(block)],
        qkv_bias=_has_bias(block), proj_bias=_out_projection(block).bias is not None,
        qk_norm=_has(attention, 'q_norm'), scale_attn_norm=_has(attention, 'norm'),
        scale_mlp_norm=ffn_norm, init_values=_init_values(block),
        ffn=ffn, norm_layer='rmsnorm' if isinstance(norm, RmsNorm) else 'layernorm',
        final_norm=_has(model, 'norm'), fc_norm=_has(model, 'fc_norm'), global_pool=model.global_pool,
        pool_include_prefix=mapped is not None and getattr(model, 'pool_include_prefix', isinstance(model, Eva)),
        attn_pool_num_heads=_unless(mapped and mapped.num_heads, attention.num_heads * branches),
        attn_pool_mlp_ratio=_unless(mapped and _ratio(mapped.mlp.fc1.out_features, model.embed_dim),
                                    _ratio(hidden * branches, model.embed_dim)))


def _has(owner: nn.Module, name: str) -> bool:
    """Whether a part is there and does something."""
    return not isinstance(getattr(owner, name, None), (type(None), nn.Identity))


def _unless(value: Any, usual: Any) -> Any:
    return None if value == usual else value


def _ratio(hidden: int, dim: int) -> float:
    """The ``mlp_ratio`` of exactly ``hidden`` channels, which are rounded in some models."""
    ratio = hidden / dim
    return ratio if int(dim * ratio) == hidden else math.nextafter(ratio, math.inf)


def _first_norm(block: nn.Module) -> nn.Module:
    return block.attns[0].norm if hasattr(block, 'attns') else block.norm1


def _out_projection(block: nn.Module) -> nn.Module:
    return block.attn_out_proj if isinstance(block, ParallelScalingBlock) else _attention(block).proj


def _head_dim(attention: nn.Module) -> int:
    """The width of a head, which BEiT's attention does not state."""
    return getattr(attention, 'head_dim', None) or attention.qkv.out_features // (3 * attention.num_heads)


def _has_bias(block: nn.Module) -> bool:
    """Whether queries and values have a bias; that of keys is zero where there is none."""
    if isinstance(block, ParallelScalingBlock):
        return block.in_proj.bias is not None
    attention = _attention(block)
    if attention.qkv is None:
        return attention.q_proj.bias is not None
    # the norms of parallel attentions are multiplied into what follows them, and leave a bias there
    return attention.qkv.bias is not None or getattr(attention, 'q_bias', None) is not None or hasattr(block, 'attns')


def _ffn(block: nn.Module) -> tuple[str, int, bool]:
    """The kind of the FFN, its hidden channels, and whether a norm is inside it."""
    if isinstance(block, ParallelScalingBlock):
        return ACTIVATIONS[type(block.mlp_act).__name__], block.mlp_out_proj.in_features, False
    mlp = block.ffns[0].mlp if hasattr(block, 'ffns') else block.mlp
    if isinstance(mlp, (GluMlp, SwiGLU)):
        return 'swiglu', mlp.fc2.in_features, _has(mlp, 'norm')
    assert isinstance(mlp, Mlp)
    return ACTIVATIONS[type(mlp.act).__name__], mlp.fc2.in_features, _has(mlp, 'norm')


def _init_values(block: nn.Module) -> float | None:
    """Where LayerScale starts. That of parallel branches is multiplied into what precedes it."""
    if isinstance(block, (EvaBlock, BeitBlock)):
        return block.init_values or None
    scale = getattr(block, 'ls1', getattr(block, 'ls', None))
    return getattr(scale, 'init_values', None)


def _rope(rope: nn.Module | None) -> Rope | None:
    if rope is None:
        return None
    reference = getattr(rope, 'ref_feat_shape', None)
    return Rope(ROPES[type(rope).__name__], float(rope.temperature), float(getattr(rope, 'grid_offset', 0.)),
                rope.grid_indexing, getattr(rope, 'rotate_half', False), reference and tuple(reference))
