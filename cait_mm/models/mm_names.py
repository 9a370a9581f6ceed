"""Weights of the ViT and Swin of MMSegmentation and MMDetection, converted to the names of this package."""
import re

import torch
from torch import Tensor

from cait_mm.arch.swin import MOST_STAGES
from cait_mm.models.swin_names import official_names

Weights = dict[str, Tensor]
_VIT: tuple[tuple[str, str], ...] = (
    (r'^ln1\.', 'norm.'), (r'^layers\.(\d+)\.', r'blocks.\1.'), (r'^patch_embed\.projection\.', 'patch_embed.proj.'),
    (r'\.ln([12])\.', r'.norm\1.'), (r'\.attn\.attn\.in_proj_', '.attn.qkv.'),
    (r'\.attn\.attn\.out_proj\.', '.attn.proj.'), (r'\.ffn\.layers\.0\.0\.', '.mlp.fc1.'),
    (r'\.ffn\.layers\.1\.', '.mlp.fc2.'))


def vit_weights(weights: Weights, depth: int, with_cls_token: bool, final_norm: bool) -> Weights:
    """The weights of MMSegmentation's ``VisionTransformer`` under DeiT's names.

    Args:
        weights: The weights of the backbone.
        depth: The number of blocks that are built; the others are dropped.
        with_cls_token: Whether CLS is used; it is in the weights in any case.
        final_norm: Whether the norm behind the last block is wanted.
    """
    renamed = {}
    for key, value in weights.items():
        for pattern, name in _VIT:
            key = re.sub(pattern, name, key)
        block = re.match(r'blocks\.(\d+)\.', key)
        if (block and int(block[1]) >= depth or key.startswith('norm.') and not final_norm
                or key == 'cls_token' and not with_cls_token):
            continue
        renamed[key] = value[:, 1:] if key == 'pos_embed' and not with_cls_token else value
    return with_biases(renamed, ('patch_embed.proj', 'attn.qkv', 'attn.proj'))


def swin_weights(weights: Weights, stages: int) -> Weights:
    """The weights of MMSegmentation's or MMDetection's ``SwinTransformer`` under the official names, of the first
    ``stages`` stages.
    """
    behind = tuple(f'layers.{stage}.' for stage in range(stages, MOST_STAGES))
    renamed = {key: value for key, value in official_names(weights).items()
               if not key.startswith((*behind, f'layers.{stages - 1}.downsample.'))}
    return with_biases(renamed, ('attn.qkv', ))


def with_biases(weights: Weights, layers: tuple[str, ...]) -> Weights:
    """The weights with zero biases for those of ``layers`` that have none."""
    complete = {}
    for key, value in weights.items():
        complete[key] = value
        bias = key.removesuffix('weight') + 'bias'
        if key.endswith(tuple(f'{layer}.weight' for layer in layers)) and bias not in weights:
            complete[bias] = torch.zeros(len(value), dtype=value.dtype)
    return complete
