"""MACs and parameters of real modules, counted by fvcore; ``cait_mm/macs.py`` has the closed form of a spec.

fvcore itself counts nothing for fused attention; here it is counted as its two matrix products.
"""
import logging
from collections import Counter
from typing import Any

from torch import nn


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
