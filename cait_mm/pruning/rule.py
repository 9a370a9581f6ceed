"""How unimportant channels are pushed to zero, and how the wanted reduction grows (paper, Eq. 2 and section IV-A1)."""
import math

import torch
from torch import Tensor

SMALLEST_NORM = 1e-12


def lasso_gradient_(grad: Tensor, columns: Tensor, mask: Tensor, strength: float | None = 1e-5) -> Tensor:
    """Turn a compactor's gradient, in place, into the one it is updated with (Eq. 2, after ResRep).

    ``m_j * dL/dC[:, j] + strength * C[:, j] / ||C[:, j]||``: the group lasso pulls every column, and a column that was
    selected as unimportant (mask False) feels nothing else, so it goes to zero without resistance.

    Args:
        grad, columns: (groups, width, width), ``columns[g, j]`` is a channel's column.
        mask: (groups, width), True for channels that stay.
        strength: The paper's lambda; None only silences masked columns.
    """
    grad.mul_(mask[..., None])
    if strength is not None:
        norms = columns.norm(dim=2, keepdim=True).clamp_min(SMALLEST_NORM)
        grad.addcmul_(columns, strength / norms)
    return grad


@torch.no_grad()
def proximal_step(columns: Tensor, mask: Tensor, shrink: float) -> None:
    """Shrink the columns that ``mask`` drops by ``shrink`` in norm, in place, after the optimizer's step.

    The proximal operator of the group lasso, ``c <- c * max(0, 1 - shrink / ||c||)``: a column reaches exactly zero
    after ``norm / shrink`` steps, however short the run (docs/design.md).
    """
    norms = columns.norm(dim=2, keepdim=True).clamp_min(SMALLEST_NORM)
    factor = (1 - shrink / norms).clamp_min(0)
    columns.mul_(torch.where(mask[..., None], 1., factor))


def wanted_reduction(iteration: int, start: int, target: float, step: float = 0.00025, interval: int = 25,
                     begin: float = 0.) -> float:
    """The reduction r that selection aims for: 0 until ``start``, then ``step`` more every ``interval`` iterations.

    Args:
        iteration: 0-based training iteration.
        start: The iteration at which the ramp begins (the paper: after 30 epochs).
        target: Where it ends.
        step, interval: The paper's 0.025 % every 25 iterations.
        begin: The reduction that the ramp rises from (the paper: 0).
    """
    if iteration < start:
        return 0.
    return min(target, begin + step * ((iteration - start) // interval + 1))


def ramp_end(start: int, target: float, step: float = 0.00025, interval: int = 25, begin: float = 0.) -> int:
    """The first iteration at which :func:`wanted_reduction` is ``target``."""
    return start + interval * (max(1, -int(-(target - begin) / step // 1)) - 1)


def vanishing_steps(norm: float, lr: float, begin: float, iterations: int, strength: float = 1e-5,
                    beta2: float = 0.999, usual_grad: float = 1e-3) -> float:
    """About how many AdamW steps the lasso alone takes to bring a masked column from ``norm`` to zero.

    Adam divides by its memory of past gradients, so the pull is felt only when that memory has shrunk from the usual
    gradient to ``strength``; from then on every step takes the learning rate from the norm. The rate is assumed to
    follow a cosine to zero.

    Args:
        norm: Of the column when it is masked.
        lr: Peak learning rate.
        begin: When it is masked, as a share of the run.
        iterations: Length of the run.
        strength: The lambda of the paper.
        beta2: That of Adam.
        usual_grad: Size of a compactor's gradients before.

    Returns:
        Steps, ``inf`` where the rest of the learning rate schedule is not enough.
    """
    forgetting = max(0., 2 * math.log(usual_grad / strength) / -math.log(beta2))
    first = begin + forgetting / iterations
    travelled = norm * 2 / (lr * iterations)  # the integral of 1 + cos(pi t) that is needed from ``first`` on

    def integral(end: float) -> float:
        return (end - first) + (math.sin(math.pi * end) - math.sin(math.pi * first)) / math.pi

    if first >= 1 or integral(1.) < travelled:
        return math.inf
    low, high = first, 1.
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if integral(middle) < travelled else (low, middle)
    return (high - begin) * iterations
