"""The attention of a backbone's last block, as it is computed."""
import torch
from torch import Tensor

from cait_mm.errors import UserError
from cait_mm.models import Backbone
from cait_mm.ops.windows import WindowAttention


@torch.no_grad()
def last_attention(backbone: Backbone, image: Tensor) -> Tensor:
    """The attention of the last block, the mean over its heads (paper, Fig. 8 shows its first row).

    Args:
        backbone: Folded or dense, in eval mode.
        image: (1, C, H, W), normalised.

    Returns:
        (N, N), rows of the softmax over all tokens there, those in front of the patches first.

    Raises:
        UserError: Its attention is inside windows.
    """
    attention, seen = backbone.flat_blocks()[-1].attn, []
    if isinstance(attention, WindowAttention):
        raise UserError(f'attention of {backbone.arch.name} stays inside windows.')
    attend = attention.attend

    def watched(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None, weights: Tensor | None = None) -> Tensor:
        seen.append(attention.logits(q, k, bias).softmax(-1) if weights is None else weights)
        return attend(q, k, v, bias, weights)

    attention.attend = watched
    try:
        backbone.forward_tokens(image)
    finally:
        del attention.attend
    return seen[0][0].mean(0)
