"""Widths of blocks, derived from the shapes of weights."""
from collections.abc import Mapping
from dataclasses import replace

from torch import Tensor

from cait_mm.errors import UserError
from cait_mm.spec import Spec


def widths_in_state_dict(spec: Spec, state_dict: Mapping[str, Tensor], prefix: str = '') -> Spec:
    """``spec`` with the block widths from the shapes in ``state_dict``, and with weighted merges if it holds their
    powers; blocks that are not in it keep their widths.

    Impossible shapes are ignored, because strict loading reports them.
    """
    blocks = []
    for index, block in enumerate(spec.blocks):
        path = prefix + spec.arch.block_path(index)
        names = [f'{path}.{name}.weight' for name in ('attn.qkv', 'attn.proj', 'mlp.fc2')]
        if all(name in state_dict and state_dict[name].dim() == 2 for name in names):
            qkv, proj, fc2 = (state_dict[name].shape for name in names)
            block = replace(block, qk_dim=(qkv[0] - proj[1]) // (2 * block.num_heads),
                            v_dim=proj[1] // block.num_heads, ffn_dim=fc2[1])
        blocks.append(block)
    merges = zip(spec.placed, spec.merges, spec.weighted().merges)
    told = tuple(weighted if f'{prefix}{merge_path(spec, index)}.power' in state_dict else merge
                 for index, merge, weighted in merges)
    try:
        return spec.replace(blocks=tuple(blocks), merges=told)
    except UserError:
        return spec


def merge_path(spec: Spec, block: int) -> str:
    """The prefix of the merge before block number ``block`` in a state dict, without the final dot."""
    return spec.arch.block_path(block).replace('blocks.', 'merges.')


def told_widths(spec: Spec, state_dict: Mapping[str, Tensor]) -> Spec:
    """As :func:`widths_in_state_dict`, for weights of any origin: returns ``spec`` if their shapes are impossible."""
    try:
        return widths_in_state_dict(spec, state_dict)
    except (ValueError, IndexError):
        return spec
