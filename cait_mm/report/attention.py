"""Attention of CLS, or of any patch, in the last block of a dense and of a compressed backbone."""
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from cait_mm.analysis.attention import last_attention
from cait_mm.errors import UserError
from cait_mm.models import Backbone
from cait_mm.report.encoding import owners_as_bytes, rows_as_bytes
from cait_mm.report.tokens import DROPPED, owners_at, stages

MOST_WEIGHTS = 300_000
"""Of one model in a page; more are made fewer by joining neighbouring patches that ask."""


def attention_of(backbone: Backbone, image: Tensor) -> dict[str, Any]:
    """What the tokens of the last block attend to in ``image`` (1, C, H, W), for a page.

    ``rows`` holds a row of weights for CLS, if there is one, then one for every asker: a token, or a square of
    ``askers`` patches if tokens are many. A row has a weight for every token, as a share of the row's largest.

    Raises:
        UserError: The model's attention cannot be shown.
    """
    stage = owners_at(stages(backbone, image), len(backbone.flat_blocks()) - 1)
    weights, prefix = last_attention(backbone, image), backbone.num_cls
    if weights.shape[0] != stage.count + prefix:
        raise UserError('tokens become fewer inside the last block.')
    has_cls = getattr(backbone, 'cls_token', None) is not None
    of_cls, of_patches = weights[:int(has_cls), prefix:], weights[prefix:, prefix:]
    asks = stage.owners
    if of_patches.numel() > MOST_WEIGHTS and stage.grid is not None:
        of_patches, asks = fewer_askers(of_patches, stage.owners, stage.grid)
    return {'cls': has_cls, 'tokens': stage.count, 'owners': owners_as_bytes(stage.owners),
            'askers': owners_as_bytes(asks), 'rows': rows_as_bytes(torch.cat([of_cls, of_patches]))}


def fewer_askers(weights: Tensor, owners: Tensor, grid: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Rows (N, N) of tokens on ``grid`` as the means over squares of them, as few as a page holds, and the number of
    the square that each patch asks with, from ``owners`` (H, W).
    """
    side = 1
    while -(-grid[0] // side) * -(-grid[1] // side) * weights.shape[1] > MOST_WEIGHTS:
        side += 1
    maps = weights.T.reshape(1, -1, *grid)
    joined = F.avg_pool2d(maps, side, ceil_mode=True, count_include_pad=False)
    rows, columns = owners // grid[1] // side, owners % grid[1] // side
    asks = torch.where(owners == DROPPED, DROPPED, rows * joined.shape[-1] + columns)
    return joined[0].flatten(1).T.contiguous(), asks
