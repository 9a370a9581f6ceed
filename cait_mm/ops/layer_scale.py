"""LayerScale multiplied into the layers before it."""
import torch
from timm.layers import LayerScale
from torch import nn


@torch.no_grad()
def fold_scale(scale: nn.Module | None, *layers: nn.Linear) -> None:
    """Multiply ``scale`` into the ``layers`` whose outputs it scales, in place; it is 1 after. Other modules than a
    LayerScale scale nothing.
    """
    if not isinstance(scale, LayerScale):
        return
    for layer in layers:
        layer.weight.mul_(scale.gamma[:, None])
        if layer.bias is not None:
            layer.bias.mul_(scale.gamma)
    scale.gamma.fill_(1)
