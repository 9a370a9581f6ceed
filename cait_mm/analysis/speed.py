"""Speed as a ratio of medians from one interleaved run: A, B, A, B, ... so that both see the same machine."""
import platform
import time
from dataclasses import dataclass
from statistics import median, quantiles
from typing import Any, Callable, Dict, List, Mapping

import torch


@dataclass(frozen=True)
class Timing:
    """Seconds of one call over the rounds of a run."""

    seconds: List[float]

    @property
    def median(self) -> float:
        return median(self.seconds)

    @property
    def spread(self) -> float:
        """The interquartile range as a share of the median."""
        if len(self.seconds) < 2:
            return 0.
        low, _, high = quantiles(self.seconds, n=4, method='inclusive')
        return (high - low) / self.median


def time_interleaved(calls: Mapping[str, Callable[[], Any]], rounds: int = 10, warmup: int = 2,
                     training: bool = False) -> Dict[str, Timing]:
    """Time every call once per round, in turn.

    Args:
        calls: What to time, by name. On a GPU each is bracketed by device events.
        rounds: Timed rounds.
        warmup: Rounds before them that are not counted.
        training: Leave gradients on; otherwise the calls run under ``torch.inference_mode``.
    """
    seconds: Dict[str, List[float]] = {name: [] for name in calls}
    with torch.inference_mode(not training):
        for index in range(warmup + rounds):
            for name, call in calls.items():
                spent = _time_on_gpu(call) if torch.cuda.is_available() else _time(call)
                if index >= warmup:
                    seconds[name].append(spent)
    return {name: Timing(values) for name, values in seconds.items()}


def _time(call: Callable[[], Any]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def _time_on_gpu(call: Callable[[], Any]) -> float:
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize()
    start.record()
    call()
    end.record()
    torch.cuda.synchronize()
    return start.elapsed_time(end) / 1000


def conditions() -> Dict[str, Any]:
    """The machine and libraries a measurement belongs to."""
    cuda = torch.cuda.is_available()
    return {
        'device': torch.cuda.get_device_name() if cuda else _cpu_name(),
        'threads': torch.get_num_threads(),
        'torch': torch.__version__,
        'python': platform.python_version(),
    }


def _cpu_name() -> str:
    try:
        with open('/proc/cpuinfo') as lines:
            return next(line.split(':', 1)[1].strip() for line in lines if line.startswith('model name'))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
