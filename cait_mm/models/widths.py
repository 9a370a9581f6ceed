"""Widths and sizes of blocks as the shapes of weights tell them."""
from collections.abc import Mapping
from dataclasses import replace

from torch import Tensor

from cait_mm.errors import UserError
from cait_mm.spec import Spec


def widths_in_state_dict(spec: Spec, state_dict: Mapping[str, Tensor], prefix: str = '') -> Spec:
    """``spec`` with the block widths that the shapes in ``state_dict`` tell; blocks that are not in it keep theirs.

    Shapes that no model has tell nothing: strict loading lists what does not fit.
    """
    blocks = []
    for index, block in enumerate(spec.blocks):
        path = prefix + spec.arch.block_path(index)
        names = [f'{path}.{name}.weight' for name in ('attn.qkv', 'attn.proj', 'mlp.fc1')]
        if all(name in state_dict and state_dict[name].dim() == 2 for name in names):
            qkv, proj, fc1 = (state_dict[name].shape for name in names)
            block = replace(block, qk_dim=(qkv[0] - proj[1]) // (2 * block.num_heads),
                            v_dim=proj[1] // block.num_heads, ffn_dim=fc1[0])
        blocks.append(block)
    try:
        return spec.replace(blocks=tuple(blocks))
    except UserError:
        return spec


def told_widths(spec: Spec, state_dict: Mapping[str, Tensor]) -> Spec:
    """As :func:`widths_in_state_dict`, for weights of any origin: ``spec`` where their shapes are no model's."""
    try:
        return widths_in_state_dict(spec, state_dict)
    except (ValueError, IndexError):
        return spec
