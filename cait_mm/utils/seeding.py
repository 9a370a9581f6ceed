"""Random numbers that depend on the position in a run, not on earlier draws."""
import random
from typing import Any

import numpy as np
import torch

SAMPLES, ORDER, STEPS = 1, 2, 3
"""The first number of a key, its purpose: samples, the order of the data and training steps never share a seed."""


def seed_of(*key: int) -> int:
    """A 32-bit seed for non-negative integers, mixed by NumPy's ``SeedSequence``: neighbours are not related."""
    return int(np.random.SeedSequence(key).generate_state(1)[0])


def seed_cpu(*key: int) -> None:
    """Seed the generators of ``random``, NumPy and PyTorch's CPU from a key.

    ``torch.manual_seed`` would also visit every accelerator, which costs more than loading a small picture.
    """
    seed = seed_of(*key)
    random.seed(seed)
    np.random.seed(seed)
    torch.random.default_generator.manual_seed(seed)


class OwnRandomness:
    """A context with generators of its own, which continue when it is entered again.

    Args:
        key: The numbers to seed from, see :func:`seed_of`.
    """

    def __init__(self, *key: int) -> None:
        outside = _states()
        seed_cpu(*key)
        self._inside = _states()
        _restore(outside)

    def __enter__(self) -> None:
        self._outside = _states()
        _restore(self._inside)

    def __exit__(self, *exception: Any) -> None:
        self._inside = _states()
        _restore(self._outside)


def _states() -> tuple[Any, Any, torch.Tensor]:
    return random.getstate(), np.random.get_state(), torch.get_rng_state()


def _restore(states: tuple[Any, Any, torch.Tensor]) -> None:
    random.setstate(states[0])
    np.random.set_state(states[1])
    torch.set_rng_state(states[2])
