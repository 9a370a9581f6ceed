"""Tuning without labels: a dense model teaches its compressed self on images alone."""
import math
import os
import time
import zlib
from collections.abc import Callable, Sequence, Sized
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from cait_mm.errors import UserError
from cait_mm.pruning.imitate import imitate_classifier
from cait_mm.utils.draws import order
from cait_mm.utils.files import atomic_path
from cait_mm.utils.seeding import STEPS, OwnRandomness
from cait_mm.utils.weights import load_file

LEAST_IMAGES = 32
"""Fewer are refused: learning from them does not carry over to other images."""
LR = 3e-5
"""Of a classifier's first step. Weighted merges leave little to learn: 1e-4 undoes more than a hundred steps mend."""
MODULE_LR = 1e-4
"""That of other models. With maps restored by residuals, 5e-4 first undoes what they gave."""
LOOKS = 10
"""How often the images held out are looked at in a run."""

Loss = Callable[[nn.Module, nn.Module, Any], tuple[Tensor, Tensor]]
"""Student, teacher and a batch -> the loss, and the distance that is watched; means over the batch's images."""


@dataclass(frozen=True)
class Progress:
    """Where a tuning run is.

    Args:
        step, steps: Steps that are done, and all.
        distance: On the images held out, where they were looked at after this step.
        seconds_left: Estimated from the steps that this process has done.
    """

    step: int
    steps: int
    distance: float | None
    seconds_left: float


@dataclass(frozen=True)
class Tuned:
    """The result of tuning.

    Args:
        before, after: The watched distance (a KL in nats) on the images held out, with the weights that the student had
            and with those that it has now. ``after`` is never the larger one.
        best_step: The step whose weights the student has now; 0: they are as they were.
        steps: Steps that were done.
        held_out: How many images were held out.
        note: A sentence where the images are too few or unlike, or the steps too large.
    """

    before: float
    after: float
    best_step: int
    steps: int
    held_out: int
    note: str | None = None


def tune(student: nn.Module, teacher: nn.Module, images: Sequence[Any] | Callable[[int], Any], steps: int, *,
         lr: float = LR, loss: Loss = imitate_classifier, held_out: Sequence[Any] | None = None, seed: int = 0,
         checkpoint: str | os.PathLike | None = None,
         progress: Callable[[Progress], None] | None = None) -> Tuned:
    """Train all weights of ``student``, in place, to answer like ``teacher``; it never ends farther from it.

    AdamW with a cosine to zero. Both stay in eval mode: dropout is off, and batch norms keep their statistics. The
    distance on images held out is looked at :data:`LOOKS` times, and the student ends with the weights of the best
    look, the one before the first step included.

    Args:
        student: The compressed model, on the device of its images.
        teacher: The dense model; it stays as it is.
        images: Batches, drawn in an order that follows from ``seed``; or a function that gives the batch of a step
            (from 0), which needs ``held_out``. A batch is what ``loss`` takes.
        steps: How many.
        lr: Of the first step.
        loss: Gives the loss and the watched distance.
        held_out: Batches to watch. None holds out a tenth of ``images``, one batch at least.
        seed: Of the order, and of what a loss may draw.
        checkpoint: A file that the state is written to at every look. If it is there the run continues from it, on a
            CPU with the same bits as one that was not stopped.
        progress: Called after every step.

    Raises:
        UserError: The images are too few, or the checkpoint is of another run.
    """
    if steps < 1 or not lr > 0:
        raise UserError(f'`steps`={steps}, `lr`={lr}: both are above 0.')
    draw, held_out = _split(images, held_out, seed)
    student.eval()
    teacher.eval()
    run = _Run(student, teacher, loss, held_out, steps, lr, seed)
    if checkpoint is not None and Path(checkpoint).exists():
        run.load_state_dict(load_file(checkpoint), str(checkpoint))
    else:
        run.look()
    interval, begun, first = max(1, steps // LOOKS), time.monotonic(), run.step
    while run.step < steps and not run.broken:
        run.take_step(draw(run.step))
        looked = run.broken or run.step == steps or run.step % interval == 0
        if looked:
            run.look()
            if checkpoint is not None:
                _write(run.state_dict(), checkpoint)
        if progress is not None:
            pace = (time.monotonic() - begun) / (run.step - first)
            progress(Progress(run.step, steps, run.looks[-1][1] if looked else None, pace * (steps - run.step)))
    return run.finish()


class _Run:
    """A tuning run: all that is kept between steps."""

    def __init__(self, student: nn.Module, teacher: nn.Module, loss: Loss, held_out: Sequence[Any], steps: int,
                 lr: float, seed: int) -> None:
        self.student, self.teacher, self.loss, self.held_out = student, teacher, loss, held_out
        self.settings = dict(steps=steps, lr=lr, seed=seed, held_out=sum(map(_size, held_out)),
                             student=fingerprint(student), teacher=fingerprint(teacher))
        self.parameters = [parameter for parameter in student.parameters() if parameter.requires_grad]
        self.optimizer = torch.optim.AdamW(self.parameters, lr)
        self.step, self.broken = 0, False
        self.looks: list[list[float]] = []
        """Pairs of a step and the distance after it."""
        self.best: dict[str, Tensor] = {}

    def take_step(self, batch: Any) -> None:
        """One step; a loss or gradient that is not finite breaks the run off instead."""
        steps, lr, seed = (self.settings[name] for name in ('steps', 'lr', 'seed'))
        for group in self.optimizer.param_groups:
            group['lr'] = lr * (1 + math.cos(math.pi * self.step / steps)) / 2
        with OwnRandomness(STEPS, seed, self.step):
            value, _ = self.loss(self.student, self.teacher, batch)
            value.backward()
        size = nn.utils.clip_grad_norm_(self.parameters, 1.)
        self.broken = not bool(torch.isfinite(value.detach() + size))
        if not self.broken:
            self.optimizer.step()
        self.optimizer.zero_grad()
        self.step += 1

    @torch.no_grad()
    def look(self) -> None:
        """Measure the distance on the images held out, and keep the weights if it is the smallest."""
        total = sum(float(self.loss(self.student, self.teacher, batch)[1]) * _size(batch) for batch in self.held_out)
        distance = total / self.settings['held_out']
        if not self.looks or distance < min(known for _, known in self.looks):
            self.best = {name: value.detach().clone() for name, value in self.student.state_dict().items()}
        self.looks.append([self.step, distance if math.isfinite(distance) else math.inf])

    def finish(self) -> Tuned:
        """Put the best weights in; say how it went."""
        self.student.load_state_dict(self.best)
        step, after = min(self.looks, key=lambda look: look[1])
        return Tuned(self.looks[0][1], after, int(step), self.step, self.settings['held_out'], self._note(step, after))

    def _note(self, best_step: float, after: float) -> str | None:
        count = self.settings['held_out']
        if self.broken:
            return (f'the loss was not finite after step {self.step - 1}: take a lower lr than '
                    f'{self.settings["lr"]:g}; the weights are those of step {best_step:.0f}.')
        if best_step == 0:
            return (f'no step brought the model nearer to the dense one on the {count} images held out, so its weights '
                    'are as they were: give more images, like those that it was trained on, or a lower lr.')
        if self.looks[-1][1] > 1.02 * after:
            return (f'the KL on the {count} images held out rose again after step {best_step:.0f}, from {after:.4f} to '
                    f'{self.looks[-1][1]:.4f}: the images are too few for {self.settings["steps"]} steps; the weights '
                    'are those of that step.')
        return None

    def state_dict(self) -> dict[str, Any]:
        """All that a run needs to continue, in tensors and plain types."""
        return dict(settings=self.settings, step=self.step, broken=self.broken, looks=self.looks, best=self.best,
                    student=self.student.state_dict(), optimizer=self.optimizer.state_dict())

    def load_state_dict(self, state: Any, path: str) -> None:
        """Continue from a state.

        Raises:
            UserError: It is no state of this run.
        """
        settings = state.get('settings') if isinstance(state, dict) else None
        if not isinstance(settings, dict):
            raise UserError(f'{path} holds no tuning run: delete it, or name another file.')
        other = [name for name, value in self.settings.items() if settings.get(name) != value]
        if other:
            raise UserError(f'{path} is of another tuning run ({", ".join(other)} differ): delete it, or name another '
                            'file.')
        self.step, self.broken, self.looks, self.best = (state[key] for key in ('step', 'broken', 'looks', 'best'))
        self.student.load_state_dict(state['student'])
        self.optimizer.load_state_dict(state['optimizer'])


def _split(images: Sequence[Any] | Callable[[int], Any], held_out: Sequence[Any] | None,
           seed: int) -> tuple[Callable[[int], Any], Sequence[Any]]:
    """The function that gives a step's batch, and the batches that are held out."""
    if callable(images):
        if held_out is None:
            raise UserError('`held_out` is needed where `images` is a function: batches that it never gives.')
        count = len(images) if isinstance(images, Sized) else LEAST_IMAGES
        _require_images(count, sum(map(_size, held_out)), count)
        return images, held_out
    batches = list(images)
    if held_out is None:
        count = max(1, len(batches) // 10)
        batches, held_out = batches[:-count], batches[-count:]
    _require_images(sum(map(_size, batches)), sum(map(_size, held_out)), len(batches))

    def draw(step: int) -> Any:
        epoch, place = divmod(step, len(batches))
        return batches[order(len(batches), seed, epoch)[place]]

    return draw, held_out


def _require_images(learned: int, held_out: int, batches: int) -> None:
    if learned + held_out < LEAST_IMAGES or not batches or not held_out:
        raise UserError(f'`images`: tuning needs {LEAST_IMAGES} images at least, in two batches or more, and '
                        f'{learned + held_out} were given: some hundreds are better.')


def _size(batch: Any) -> int:
    """Images in a batch."""
    return len(batch) if isinstance(batch, (Tensor, list, tuple)) else 1


def fingerprint(model: nn.Module) -> int:
    """A checksum of a model's weights."""
    value = 0
    for name, tensor in model.state_dict().items():
        value = zlib.crc32(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy(),
                           zlib.crc32(name.encode(), value))
    return value


def _write(state: dict[str, Any], path: str | os.PathLike) -> None:
    with atomic_path(path) as temporary:
        torch.save(state, temporary)
