"""Weights of the ViT and Swin of MMSegmentation and MMDetection, converted to the names of this package."""
import re

from torch import Tensor

from cait_mm.arch.swin import MOST_STAGES
from cait_mm.models.linear_layers import with_biases
from cait_mm.models.swin_names import official_names
from cait_mm.models.vit_forms import openmmlab_names

Weights = dict[str, Tensor]


def vit_weights(weights: Weights, depth: int, with_cls_token: bool, final_norm: bool) -> Weights:
    """The weights of MMSegmentation's ``VisionTransformer`` under DeiT's names.

    Args:
        weights: The weights of the backbone.
        depth: The number of blocks that are built; the others are dropped.
        with_cls_token: Whether CLS is used; it is in the weights in any case.
        final_norm: Whether the norm behind the last block is wanted.
    """
    kept = {}
    for key, value in openmmlab_names(weights).items():
        block = re.match(r'blocks\.(\d+)\.', key)
        if (block and int(block[1]) >= depth or key.startswith('norm.') and not final_norm
                or key == 'cls_token' and not with_cls_token):
            continue
        kept[key] = value[:, 1:] if key == 'pos_embed' and not with_cls_token else value
    return kept


def swin_weights(weights: Weights, stages: int) -> Weights:
    """The weights of MMSegmentation's or MMDetection's ``SwinTransformer`` under the official names, of the first
    ``stages`` stages.
    """
    behind = tuple(f'layers.{stage}.' for stage in range(stages, MOST_STAGES))
    renamed = {key: value for key, value in official_names(weights).items()
               if not key.startswith((*behind, f'layers.{stages - 1}.downsample.'))}
    return with_biases(renamed, ('attn.qkv', ))
