"""timm's names of a plain ViT's weights, brought to the one form that :mod:`~cait_mm.models.vit` has.

Most models have these names already. The others compute the same in this form: EVA's separate queries, keys and values
become one layer and keys without a bias get zeros, the two layers of a gated FFN become one, the fused layer of
ViT-22B's parallel blocks becomes two, and parallel branches become one of more heads and more hidden channels.
"""
import re
from collections.abc import Mapping

import torch
from torch import Tensor

from cait_mm.arch.vit import ViTArch
from cait_mm.models.linear_layers import join_layers

Weights = dict[str, Tensor]
_RENAMED = ((r'\.gamma_([12])$', r'.ls\1.gamma'), (r'\.in_norm\.', '.norm1.'), (r'\.attn_out_proj\.', '.attn.proj.'),
            (r'\.mlp_out_proj\.', '.mlp.fc2.'), (r'(blocks\.\d+)\.([qk])_norm\.', r'\1.attn.\2_norm.'),
            (r'(blocks\.\d+)\.ls\.', r'\1.ls1.'))


def plain_names(weights: Mapping[str, Tensor], arch: ViTArch) -> Weights:
    """Weights of timm's ``vision_transformer``, ``deit``, ``eva`` and ``beit`` models under this package's names.

    Told apart by their names: weights in this form, and parts that are missing or unknown, stay as they are.
    """
    renamed: Weights = {}
    blocks: dict[str, Weights] = {}
    shared = weights.get('rel_pos_bias.relative_position_bias_table')
    for key, value in weights.items():
        if key.startswith('rel_pos_bias.') or key.endswith('.relative_position_index'):
            continue
        for pattern, name in _RENAMED:
            key = re.sub(pattern, name, key)
        block = re.match(r'blocks\.\d+\.', key)
        if block:
            blocks.setdefault(block[0], {})[key[block.end():]] = value
        else:
            renamed[key] = value
    scaled = [block for block in blocks.values() if 'ls1.gamma' in block]
    if arch.block == 'pre' and not any('ls2.gamma' in block for block in scaled):  # Sapiens scales attention alone
        for block in scaled:
            block['ls2.gamma'] = torch.ones_like(block['ls1.gamma'])
    for path, block in blocks.items():
        if shared is not None:  # of BEiT's pretraining, and every block has its own here
            block['attn.relative_position_bias_table'] = shared.clone()
        try:
            plain = _plain_block(dict(block), arch)
        except (IndexError, KeyError, RuntimeError):  # it is damaged, and strict loading lists how
            plain = block
        renamed.update({path + key: value for key, value in plain.items()})
    return renamed


def _plain_block(block: Weights, arch: ViTArch) -> Weights:
    if any(key.startswith('attns.0.') for key in block):
        block = _joined_branches(block)
    if 'in_proj.weight' in block:
        block = _split_in_proj(block, int(arch.embed_dim * arch.mlp_ratio))
    join_layers(block, 'attn.qkv', ('attn.q_proj', 'attn.k_proj', 'attn.v_proj'))
    if 'attn.q_bias' in block and 'attn.v_bias' in block:
        bias, other = block.pop('attn.q_bias'), block.pop('attn.v_bias')
        block['attn.qkv.bias'] = torch.cat([bias, torch.zeros_like(bias), other])
    join_layers(block, 'mlp.fc1', ('mlp.fc1_g', 'mlp.fc1_x'))
    return block


def _split_in_proj(block: Weights, hidden: int) -> Weights:
    """The fused first layer of a parallel block, whose first ``hidden`` rows are the FFN's, as two layers."""
    weight, bias = block.pop('in_proj.weight'), block.pop('in_proj.bias', None)
    block['mlp.fc1.weight'], block['attn.qkv.weight'] = weight[:hidden], weight[hidden:]
    if bias is None:
        block['mlp.fc1.bias'] = block.pop('mlp_bias')
    else:
        block['mlp.fc1.bias'], block['attn.qkv.bias'] = bias[:hidden], bias[hidden:]
    return block


def _joined_branches(block: Weights) -> Weights:
    """Parallel attentions as one of all their heads, and parallel FFNs as one of all their channels.

    Branches differ in the scale and shift of their norms, which go into the layer behind them, and in their LayerScale,
    which goes into the layer before it.
    """
    return {**_joined(block, 'attns', 'norm1', 'attn.qkv', 'attn.proj', parts=3),
            **_joined(block, 'ffns', 'norm2', 'mlp.fc1', 'mlp.fc2', parts=1)}


def _joined(block: Weights, branch: str, norm: str, first: str, last: str, parts: int) -> Weights:
    """The branches ``branch`` as one norm and two layers; the first layer's rows are ``parts`` stacks, such as queries,
    keys and values, that are joined one by one.
    """
    inputs, outputs, shapes = [], [], set()
    for index in sorted({int(key.split('.')[1]) for key in block if key.startswith(f'{branch}.')}):
        own = {key.removeprefix(f'{branch}.{index}.'): value for key, value in block.items()
               if key.startswith(f'{branch}.{index}.')}
        shapes.add(frozenset((key, value.shape) for key, value in own.items()))
        if len(shapes) > 1:
            raise KeyError(f'{branch} differ')
        weight, bias, gamma = own[f'{first}.weight'], own.get(f'{first}.bias', 0), own.get('ls.gamma', torch.ones(1))
        shift = weight @ own['norm.bias'] + bias
        inputs.append(torch.cat([weight * own['norm.weight'], shift[:, None]], 1).unflatten(0, (parts, -1)))
        outputs.append(torch.cat([own[f'{last}.weight'], own[f'{last}.bias'][:, None]], 1) * gamma[:, None])
    rows, ones = torch.cat(inputs, 1).flatten(0, 1), torch.ones_like(own['norm.weight'])
    return {f'{norm}.weight': ones, f'{norm}.bias': torch.zeros_like(ones),
            f'{first}.weight': rows[:, :-1], f'{first}.bias': rows[:, -1],
            f'{last}.weight': torch.cat([columns[:, :-1] for columns in outputs], 1),
            f'{last}.bias': sum(columns[:, -1] for columns in outputs)}
