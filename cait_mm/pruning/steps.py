"""Functions that are called at every step of an optimizer, in any training loop, by ``torch.optim``'s own hooks.

A step that does not happen calls nothing. ``GradScaler`` leaves ``optimizer.step`` out where gradients are infinite;
fused optimizers it calls nevertheless, with ``found_inf`` and, where nobody has unscaled the gradients, ``grad_scale``
set on them.
"""
from collections.abc import Callable
from functools import wraps
from typing import Any

from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle


def hook_steps(optimizer: Optimizer, before: Callable[[], None], gradients: Callable[[float], None],
               after: Callable[[], None]) -> list[RemovableHandle]:
    """Call three functions at every step that happens.

    Args:
        optimizer: Any of ``torch.optim``; it may take a closure.
        before: Called once, first.
        gradients: May change gradients in place. Called with the factor that a scaler has left on them, 1 for none:
            once, or after every evaluation of a closure, which computes them inside the step.
        after: Called when the parameters are updated.

    Returns:
        Handles that remove the hooks.
    """
    def before_step(_: Optimizer, args: tuple, kwargs: dict[str, Any]) -> tuple[tuple, dict[str, Any]] | None:
        if _will_skip(optimizer):
            return None
        before()
        closure = next((value for value in (*args, *kwargs.values()) if callable(value)), None)
        if closure is None:
            scale = getattr(optimizer, 'grad_scale', None)
            gradients(1. if scale is None else float(scale))
            return None

        @wraps(closure)
        def ruled() -> Any:
            loss = closure()
            gradients(1.)
            return loss

        return (tuple(ruled if value is closure else value for value in args),
                {name: ruled if value is closure else value for name, value in kwargs.items()})

    def after_step(_: Optimizer, args: tuple, kwargs: dict[str, Any]) -> None:
        if not _will_skip(optimizer):
            after()

    return [optimizer.register_step_pre_hook(before_step), optimizer.register_step_post_hook(after_step)]


def _will_skip(optimizer: Optimizer) -> bool:
    """Whether a fused optimizer will leave its parameters as they are, because gradients are infinite."""
    overflow = getattr(optimizer, 'found_inf', None)
    return overflow is not None and bool(overflow)
