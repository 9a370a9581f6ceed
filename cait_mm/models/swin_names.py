"""Swin's weights from timm, MMSegmentation and MMDetection, converted to the official names."""
import re

from torch import Tensor

from cait_mm.models.linear_layers import with_biases

BUFFERS = ('attn_mask', 'relative_position_index')
"""Buffers in checkpoints that this package computes itself."""
_OPENMMLAB: tuple[tuple[str, str], ...] = (
    (r'^stages\.', 'layers.'), (r'^patch_embed\.projection\.', 'patch_embed.proj.'), (r'\.attn\.w_msa\.', '.attn.'),
    (r'\.ffn\.layers\.0\.0\.', '.mlp.fc1.'), (r'\.ffn\.layers\.1\.', '.mlp.fc2.'))


def official_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The weights in ``state`` under the official names and in the official order, without :data:`BUFFERS`."""
    state = {key: value for key, value in state.items() if not key.endswith(BUFFERS)}
    if any(key.startswith('stages.') for key in state):
        renamed = {_official_name(key): _official_order(key, value) for key, value in state.items()}
        return with_biases(renamed, ('attn.qkv', ))
    if any(key.startswith('layers.0.downsample.') for key in state):
        return state
    # timm puts the step between stages at the start of the later one, official checkpoints at the end of the earlier.
    return {re.sub(r'^layers\.(\d+)\.downsample', lambda match: f'layers.{int(match[1]) - 1}.downsample', key): value
            for key, value in state.items()}


def _official_name(key: str) -> str:
    for pattern, name in _OPENMMLAB:
        key = re.sub(pattern, name, key)
    return key


def _official_order(key: str, value: Tensor) -> Tensor:
    """Between stages OpenMMLab unfolds: channels first, the four tokens row by row; the official order is tokens first,
    column by column."""
    if not re.search(r'\.downsample\.(norm|reduction)\.', key) or value.shape[-1] % 4:
        return value
    return value.unflatten(-1, (-1, 4)).transpose(-1, -2)[..., [0, 2, 1, 3], :].flatten(-2)
