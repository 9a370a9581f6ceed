"""MACs and parameters, two ways that must agree: the closed form of a spec, and fvcore over a real module.

Both follow fvcore (see ``cait_mm/arch/cost.py``). fvcore itself counts nothing for fused attention; here it is counted
as its two matrix products. What is not a block, a family's architecture counts.
"""
import logging
from collections import Counter
from typing import Any

from torch import nn

from cait_mm.arch.cost import Cost, layer_norm, linear
from cait_mm.ops.token_merge import fused_tokens, has_conv
from cait_mm.spec import BlockSpec, Merge, Spec


def attention_cost(dim: int, block: BlockSpec, tokens: int, windows: tuple[int, int] | None = None,
                   qkv_bias: bool = True) -> Cost:
    """Norm, qkv, the two attention products and the output projection over ``tokens`` tokens.

    ``windows`` is how many attentions are computed beside each other and the tokens in each, padding included; None is
    one over all tokens.
    """
    count, length = windows or (1, tokens)
    values = block.num_heads * block.v_dim
    products = Cost(count * block.num_heads * length**2 * (block.qk_dim + block.v_dim), 0)
    qkv = linear(count * length, dim, block.num_heads * (2 * block.qk_dim + block.v_dim), qkv_bias)
    return layer_norm(tokens, dim) + qkv + products + linear(count * length, values, dim)


def ffn_cost(dim: int, block: BlockSpec, tokens: int) -> Cost:
    """Norm and the two linear layers over ``tokens`` tokens."""
    return layer_norm(tokens, dim) + linear(tokens, dim, block.ffn_dim) + linear(tokens, block.ffn_dim, dim)


def merge_cost(dim: int, merge: Merge, tokens: int) -> Cost:
    """The linear layer (and depthwise convolution) of a merge that leaves ``tokens`` tokens."""
    cost = linear(tokens, fused_tokens(merge.kind) * dim, dim)
    return cost + linear(tokens, 9, dim) if has_conv(merge.kind) else cost


def backbone_cost(spec: Spec, img_size: tuple[int, int] | None = None, with_cls_token: bool = True) -> Cost:
    """Stem, merges and blocks of ``spec`` on an image of ``img_size`` (H, W) pixels.

    The positional embedding is counted at its pretraining grid.
    """
    arch, grid = spec.arch, spec.arch.grid(img_size)
    with_cls = with_cls_token and arch.has_cls
    cost = arch.stem_cost(grid, with_cls)
    for index, (block, inside) in enumerate(zip(spec.blocks, spec.grids(img_size))):
        dim, merge, tokens = arch.dim(index), spec.merge_before(index), inside[0] * inside[1]
        cost += arch.enter_cost(index, grid) + Cost(0, arch.bias_params(index))
        if merge:
            cost += merge_cost(dim, merge, tokens)
        cost += attention_cost(dim, block, tokens + with_cls, arch.windows(inside, with_cls), arch.qkv_bias)
        cost += ffn_cost(dim, block, tokens + with_cls)
        grid = inside
    return cost


def classifier_cost(spec: Spec, img_size: tuple[int, int] | None = None, num_classes: int = 1000) -> Cost:
    """The whole classifier: backbone, final norm over all tokens, and the head."""
    return backbone_cost(spec, img_size) + spec.arch.head_cost(spec.grids(img_size)[-1], num_classes)


def reduction(spec: Spec, img_size: tuple[int, int] | None = None) -> float:
    """The share of the dense classifier's MACs that ``spec`` saves, between 0 and 1."""
    dense = classifier_cost(Spec.dense(spec.arch), img_size).macs
    return 1 - classifier_cost(spec, img_size).macs / dense


def _attention_flops(inputs: list[Any], outputs: list[Any]) -> int:
    """q @ k.T and attention @ v of fused attention, from the traced shapes."""
    query, key, value = (item.type().sizes() for item in inputs[:3])
    batch = 1
    for size in query[:-2]:
        batch *= size
    return batch * query[-2] * key[-2] * (query[-1] + value[-1])


def count_macs(model: nn.Module, inputs: tuple[Any, ...]) -> 'Counter[str]':
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
