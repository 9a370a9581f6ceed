"""MACs and parameters, two ways that must agree: the closed form of a spec, and fvcore over a real module.

Both follow fvcore: 1 multiply-accumulate = 1 FLOP, LayerNorm counts 5 per element, softmax, GELU, biases and residual
sums count nothing. fvcore itself counts nothing for fused attention; here it is counted as its two matrix products.
"""
import logging
from collections import Counter
from dataclasses import dataclass
from typing import Any, List, Optional, Tuple

from torch import nn

from cait_mm.ops.token_merge import fused_tokens, has_conv
from cait_mm.spec import BlockSpec, Merge, Spec

LAYER_NORM_FLOPS = 5
"""What fvcore counts per element of a LayerNorm with affine parameters."""


@dataclass(frozen=True)
class Cost:
    """MACs and parameters of a part; costs add up."""

    macs: int
    params: int

    def __add__(self, other: 'Cost') -> 'Cost':
        return Cost(self.macs + other.macs, self.params + other.params)


def attention_cost(dim: int, block: BlockSpec, tokens: int) -> Cost:
    """Norm, qkv, the two attention products and the output projection over ``tokens`` tokens."""
    qkv = block.num_heads * (2 * block.qk_dim + block.v_dim)
    values = block.num_heads * block.v_dim
    products = block.num_heads * tokens**2 * (block.qk_dim + block.v_dim)
    macs = tokens * dim * (LAYER_NORM_FLOPS + qkv + values) + products
    return Cost(macs, (dim + 1) * qkv + (values + 1) * dim + 2 * dim)


def ffn_cost(dim: int, block: BlockSpec, tokens: int) -> Cost:
    """Norm and the two linear layers over ``tokens`` tokens."""
    return Cost(tokens * dim * (LAYER_NORM_FLOPS + 2 * block.ffn_dim), (2 * dim + 1) * block.ffn_dim + dim + 2 * dim)


def merge_cost(dim: int, merge: Merge, tokens: int) -> Cost:
    """The linear layer (and depthwise convolution) of a merge that leaves ``tokens`` tokens."""
    inputs = fused_tokens(merge.kind) * dim
    cost = Cost(tokens * inputs * dim, (inputs + 1) * dim)
    return cost + Cost(tokens * 9 * dim, 10 * dim) if has_conv(merge.kind) else cost


def backbone_cost(spec: Spec, img_size: Optional[Tuple[int, int]] = None, with_cls_token: bool = True) -> Cost:
    """Patch embedding, merges and blocks of ``spec`` on an image of ``img_size`` (H, W) pixels.

    The positional embedding is counted at its pretraining grid.
    """
    arch, cls = spec.arch, int(with_cls_token)
    pixels = 3 * arch.patch_size**2
    height, width = arch.grid(img_size)
    pos_height, pos_width = arch.grid()
    embedding = (pixels + 1 + pos_height * pos_width + 2 * cls) * arch.embed_dim
    cost = Cost(height * width * pixels * arch.embed_dim, embedding)
    for index, (block, (height, width)) in enumerate(zip(spec.blocks, spec.grids(img_size))):
        merge = spec.merge_before(index)
        if merge:
            cost += merge_cost(arch.embed_dim, merge, height * width)
        tokens = height * width + cls
        cost += attention_cost(arch.embed_dim, block, tokens) + ffn_cost(arch.embed_dim, block, tokens)
    return cost


def classifier_cost(spec: Spec, img_size: Optional[Tuple[int, int]] = None, num_classes: int = 1000) -> Cost:
    """The whole classifier: backbone, final norm over all tokens, and the head on CLS."""
    dim = spec.arch.embed_dim
    height, width = spec.grids(img_size)[-1]
    norm = Cost(LAYER_NORM_FLOPS * (height * width + 1) * dim, 2 * dim)
    return backbone_cost(spec, img_size) + norm + Cost(dim * num_classes, (dim + 1) * num_classes)


def reduction(spec: Spec, img_size: Optional[Tuple[int, int]] = None) -> float:
    """The share of the dense classifier's MACs that ``spec`` saves, between 0 and 1."""
    dense = classifier_cost(Spec.dense(spec.arch), img_size).macs
    return 1 - classifier_cost(spec, img_size).macs / dense


def _attention_flops(inputs: List[Any], outputs: List[Any]) -> int:
    """q @ k.T and attention @ v of fused attention, from the traced shapes."""
    query, key, value = (item.type().sizes() for item in inputs[:3])
    batch = 1
    for size in query[:-2]:
        batch *= size
    return batch * query[-2] * key[-2] * (query[-1] + value[-1])


def count_macs(model: nn.Module, inputs: Tuple[Any, ...]) -> 'Counter[str]':
    """Count a real module with fvcore, fused attention included.

    Args:
        model: Any module that ``torch.jit.trace`` follows; it is counted as it stands (put it in eval mode).
        inputs: The positional arguments of its ``forward``.

    Returns:
        MACs by the dotted name of the submodule that spent them; ``''`` is the total.
    """
    from fvcore.nn import FlopCountAnalysis
    analysis = FlopCountAnalysis(model, inputs)
    analysis.set_op_handle('aten::scaled_dot_product_attention', _attention_flops)
    analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False).tracer_warnings('none')
    logging.getLogger('fvcore.nn.jit_analysis').setLevel(logging.ERROR)
    return Counter({name: int(macs) for name, macs in analysis.by_module().items()})


def count_params(model: nn.Module) -> int:
    """Parameters of a module, each counted once."""
    return sum(parameter.numel() for parameter in model.parameters())
