"""Speed as a ratio of medians from one interleaved run: A, B, A, B, ..., so that conditions are the same for both."""
import platform
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import accumulate
from statistics import median, quantiles
from typing import Any

import torch
from torch.autograd import DeviceType

NOISY = 0.1
"""If the quartiles are further apart than this share of the median, a ratio should not be quoted."""
IDLE = 0.25
"""If a GPU waits for Python for more than this share of the time, Python is measured."""


@dataclass(frozen=True)
class Timing:
    """Seconds of one call over the rounds of a run.

    Args:
        seconds: The time of every round.
        busy: The time of another call in which a GPU was working.
    """

    seconds: list[float]
    busy: float | None = None

    @property
    def median(self) -> float:
        return median(self.seconds)

    @property
    def quartiles(self) -> tuple[float, float]:
        """The first and the third quartile."""
        if len(self.seconds) < 2:
            return self.median, self.median
        low, _, high = quantiles(self.seconds, n=4, method='inclusive')
        return low, high

    @property
    def spread(self) -> float:
        """The interquartile range as a share of the median."""
        low, high = self.quartiles
        return (high - low) / self.median

    @property
    def noisy(self) -> bool:
        """Whether the rounds differ too much for their median to be quoted."""
        return self.spread > NOISY

    @property
    def launch_bound(self) -> bool:
        """Whether a GPU often waited for Python."""
        return self.busy is not None and self.busy < (1 - IDLE) * self.median


def time_interleaved(calls: Mapping[str, Callable[[], Any]], rounds: int = 10, warmup: int = 2,
                     training: bool = False, device: str = 'cpu',
                     progress: Callable[[int, int], None] | None = None) -> dict[str, Timing]:
    """Time every call once per round, in turn.

    Args:
        calls: The functions to time, by name. On a GPU each is bracketed by device events.
        rounds: Timed rounds.
        warmup: Rounds before them that are not counted.
        training: Leave gradients on; otherwise the calls run under ``torch.inference_mode``.
        device: Where the calls run.
        progress: Called between rounds with how many are done, of how many.
    """
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    busy: dict[str, float] = {}
    with torch.inference_mode(not training):
        for index in range(warmup + rounds):
            for name, call in calls.items():
                taken = _time_on_gpu(call) if device == 'cuda' else _time(call)
                if index >= warmup:
                    seconds[name].append(taken)
            if progress is not None:
                progress(index + 1, warmup + rounds)
        if device == 'cuda':
            busy = {name: _busy(call) for name, call in calls.items()}
    return {name: Timing(taken, busy.get(name)) for name, taken in seconds.items()}


def _time(call: Callable[[], Any]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def _time_on_gpu(call: Callable[[], Any]) -> float:
    """Seconds between device events around the call."""
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize()
    start.record()
    call()
    end.record()
    torch.cuda.synchronize()
    return start.elapsed_time(end) / 1000


def _busy(call: Callable[[], Any]) -> float:
    """Seconds of kernels and copies of a call on a GPU, without the time of Python."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        call()
        torch.cuda.synchronize()
    return sum(event.duration_ns() for event in profile.profiler.kineto_results.events()
               if event.device_type() == DeviceType.CUDA and not event.is_user_annotation()) / 1e9


def amdahl(whole: float, part: float, speedup: float) -> float:
    """The speed-up of something that takes ``whole`` seconds when ``part`` of them become ``speedup`` times faster."""
    part = min(part, whole)
    return whole / (whole - part + part / speedup)


def peak_memory(call: Callable[[], Any], device: str = 'cpu') -> int:
    """Bytes that ``call`` holds at most in addition to those held before it: activations, and gradients in training."""
    if device == 'cuda':
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        call()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - before
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        call()
    # profile.events() attributes memory to operators, nested ones twice; these are the allocations themselves
    changes = [(event.start_ns(), event.nbytes()) for event in profile.profiler.kineto_results.events()
               if event.name() == '[memory]']
    return max(accumulate((change for _, change in sorted(changes)), initial=0))


def conditions(device: str = 'cpu') -> dict[str, Any]:
    """The machine and libraries a measurement belongs to."""
    cpu = {'CPU': _cpu_name(), 'threads': torch.get_num_threads()}
    gpu = {'device': torch.cuda.get_device_name(), 'CUDA': torch.version.cuda} if device == 'cuda' else {}
    return {**gpu, **cpu, 'torch': torch.__version__, 'python': platform.python_version()}


def _cpu_name() -> str:
    try:
        with open('/proc/cpuinfo') as lines:
            return next(line.split(':', 1)[1].strip() for line in lines if line.startswith('model name'))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
