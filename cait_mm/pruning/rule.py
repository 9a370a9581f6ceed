"""How unimportant channels are pushed to zero, and how the wanted reduction grows (paper, Eq. 2 and section IV-A1)."""
import torch
from torch import Tensor

SMALLEST_NORM = 1e-12


def lasso_gradient(matrix: Tensor, grad: Tensor, mask: Tensor, strength: float = 1e-5) -> Tensor:
    """The gradient that a compactor is updated with (Eq. 2, after ResRep).

    ``m_j * dL/dC[:, j] + strength * C[:, j] / ||C[:, j]||``: the group lasso pulls every column, and a column that was
    selected as unimportant (mask False) feels nothing else, so it goes to zero without resistance.

    Args:
        matrix, grad: (groups, width, width), columns are channels.
        mask: (groups, width), True for channels that stay.
        strength: The paper's lambda.
    """
    norms = matrix.norm(dim=1, keepdim=True).clamp_min(SMALLEST_NORM)
    return grad * mask[:, None] + strength * matrix / norms


@torch.no_grad()
def proximal_step(matrix: Tensor, mask: Tensor, shrink: float) -> None:
    """Shrink the columns that ``mask`` drops by ``shrink`` in norm, in place, after the optimizer's step.

    The proximal operator of the group lasso, ``c <- c * max(0, 1 - shrink / ||c||)``: a column reaches exactly zero
    after ``norm / shrink`` steps, however short the run (docs/design.md).
    """
    norms = matrix.norm(dim=1, keepdim=True).clamp_min(SMALLEST_NORM)
    factor = (1 - shrink / norms).clamp_min(0)
    matrix.mul_(torch.where(mask[:, None], torch.ones_like(factor), factor))


def wanted_reduction(iteration: int, start: int, target: float, step: float = 0.00025, interval: int = 25) -> float:
    """The reduction r that selection aims for: 0 until ``start``, then ``step`` more every ``interval`` iterations.

    Args:
        iteration: 0-based training iteration.
        start: The iteration at which the ramp begins (the paper: after 30 epochs).
        target: Where it ends.
        step, interval: The paper's 0.025 % every 25 iterations.
    """
    if iteration < start:
        return 0.
    return min(target, step * ((iteration - start) // interval + 1))


def ramp_end(start: int, target: float, step: float = 0.00025, interval: int = 25) -> int:
    """The first iteration at which :func:`wanted_reduction` is ``target``."""
    return start + interval * (max(1, -int(-target / step // 1)) - 1)
