"""Linear layers in state dicts: several joined into one, and biases of zeros put in or left out."""
from collections.abc import Mapping

import torch
from torch import Tensor

Weights = dict[str, Tensor]


def join_layers(weights: Weights, whole: str, parts: tuple[str, ...]) -> None:
    """Put the rows of several linear layers into one, in place; keys that lack the bias of the others get zeros.

    Nothing changes where a layer is missing, or another than that of the keys lacks its bias: strict loading reports
    it.
    """
    lacking = [part for part in parts if f'{part}.bias' not in weights]
    whole_or_keyless = len(lacking) == len(parts) or all(part.endswith('k_proj') for part in lacking)
    if not all(f'{part}.weight' in weights for part in parts) or not whole_or_keyless:
        return
    rows = [weights.pop(f'{part}.weight') for part in parts]
    biases = [weights.pop(f'{part}.bias', None) for part in parts]
    weights[f'{whole}.weight'] = torch.cat(rows)
    if any(bias is not None for bias in biases):
        weights[f'{whole}.bias'] = torch.cat([weight.new_zeros(len(weight)) if bias is None else bias
                                              for weight, bias in zip(rows, biases)])


def with_biases(weights: Weights, layers: tuple[str, ...]) -> Weights:
    """The weights with zero biases for those of ``layers`` that have none."""
    complete = {}
    for key, value in weights.items():
        complete[key] = value
        bias = key.removesuffix('weight') + 'bias'
        if key.endswith(tuple(f'{layer}.weight' for layer in layers)) and bias not in weights:
            complete[bias] = torch.zeros(len(value), dtype=value.dtype)
    return complete


def without_zero_biases(weights: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> tuple[Weights, list[str]]:
    """The weights without biases of zeros for layers that have none in ``own``, and sentences for the log."""
    zeros = [key for key, value in weights.items() if key.endswith('.bias') and key not in own and not value.any()
             and f'{key[:-4]}weight' in own and value.shape == own[f'{key[:-4]}weight'].shape[:1]]
    notes = [f'biases of zeros are left out, such as {zeros[0]}'] if zeros else []
    return {key: value for key, value in weights.items() if key not in zeros}, notes
