"""CDCP in a training run of any loop: masks, their schedule, and hooks in every step of the optimizer."""
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

from cait_mm.errors import UserError
from cait_mm.macs import reduction
from cait_mm.models import Backbone, Classifier
from cait_mm.pruning.fold import PAD_TO, channel_scores, fold, fold_classifier
from cait_mm.pruning.groups import give_own_group, group_of
from cait_mm.pruning.masks import compactors_of, largest_masked_norm, mask_scalars, masks_of, reduction_of, set_masks
from cait_mm.pruning.rule import lasso_gradient_, proximal_step, ramp_end, vanishing_steps, wanted_reduction
from cait_mm.pruning.selection import BlockChannels, Consistency, select
from cait_mm.pruning.settings import Settings, require
from cait_mm.pruning.start import backbone_of, calibrate_compactors, ensure_compactors
from cait_mm.pruning.steps import hook_steps
from cait_mm.utils.schema import is_number, is_whole

RAMP_BEGINS = 30 / 300
"""The share of a run after which the ramp begins unless told otherwise: the paper's 30 of 300 epochs."""
RAMP_LASTS = 0.25
"""The share of a run in which the wanted reduction grows to the target unless told otherwise."""
VANISHING_LASTS = 0.25
"""The share of a run in which proximal steps empty a column of norm 1 unless told otherwise."""


class CDCP:
    """Consistent dynamic channel pruning of a model while it is trained::

        pruner = CDCP(model, target=0.544, total_steps=len(loader) * epochs)
        pruner.attach(optimizer)  # before a scheduler is made
        ...                       # any training loop
        small = pruner.fold()

    Compactors are put behind the model's blocks. At every step that ``optimizer`` takes they get Eq. 2's gradient;
    masks are rebuilt from the weights on schedule. They live in the compactors' ``mask`` buffers, and depend on the
    weights and the step alone: every process of a distributed run computes the same ones. Make the pruner before the
    model is wrapped in DDP and before its weights with compactors are loaded.

    To continue a run: make model, pruner and optimizer as before, attach, then load the three state dicts. The steps
    that follow are those of an uninterrupted run.

    Args:
        model: A classifier or a classifier's backbone; full widths, with or without compactors.
        target: The share of the dense model's MACs to save in the end, merges included.
        total_steps: Length of the run in batches.
        images: For a calibrated start, which orders channels by their contribution to some dozens of images without
            labels: a folder, or normalised tensors, or a loader of them (:func:`~cait_mm.utils.images.as_batches`).
            None starts with all channels equal, as the paper does.
        num_images: How many of them to look at.
        ramp_start: Batches before the ramp begins (Tab. XXI); None for a tenth of the run.
        accumulation: Batches per step of the optimizer.
        settings: More of :class:`~cait_mm.pruning.settings.Settings`.

    Raises:
        UserError: A value is impossible, the target is out of reach with these merges, the ramp does not end within
            the run, or the model cannot be pruned.
    """

    def __init__(self, model: Classifier | Backbone, target: float, total_steps: int, *,
                 images: Any = None, num_images: int = 64, ramp_start: int | None = None, accumulation: int = 1,
                 **settings: Any) -> None:
        self.settings = Settings(target, **settings)
        for name, value in (('total_steps', total_steps), ('accumulation', accumulation), ('num_images', num_images)):
            require(name, value, is_whole(value, 1), 'a positive whole number')
        self.total_steps, self.accumulation = total_steps, accumulation
        self.ramp_start = round(RAMP_BEGINS * total_steps) if ramp_start is None else ramp_start
        require('ramp_start', self.ramp_start, is_whole(self.ramp_start), 'a whole number, 0 or more')
        interval = self.settings.interval
        self.model, self.backbone = model, backbone_of(model)
        # Merges alone save a share of the target at once: a ramp from zero would leave channels alone until it passes
        # that share, and cut them all in its last part.
        merged = 0. if self.settings.step else reduction(self.backbone.spec)
        self.ramp_from = max(0., merged) if merged < target else 0.
        self.step = self.settings.step or (target - self.ramp_from) * interval / (RAMP_LASTS * total_steps)
        self.ramp_end = ramp_end(self.ramp_start, target, self.step, interval, self.ramp_from)
        if self.ramp_end >= total_steps:
            raise UserError(
                f'the ramp reaches {target:.1%} at step {self.ramp_end}, after the run\'s {total_steps}: start earlier '
                '(`ramp_start`), take larger steps (`step`), or train longer.')
        self.consistency = Consistency(self.settings.head_consistency, self.settings.attention_consistency)
        ensure_compactors(self.backbone)
        if images is not None:
            calibrate_compactors(self.backbone, images, num_images)
        self._select(target)  # whose error names the largest target within reach
        self.rule, self.steps = self.settings.rule, 0
        self._log: Callable[[dict[str, float]], Any] | None = None
        self._handles: list[RemovableHandle] = []

    def attach(self, optimizer: Optimizer, *, lr_mult: float = 1., own_group: bool = True,
               log: Callable[[dict[str, float]], Any] | None = None) -> str:
        """Add CDCP to every step of ``optimizer``: new masks and the gradient of Eq. 2 before, proximal steps after.

        Gradients are changed inside ``optimizer.step()``, when DDP has averaged them, ``GradScaler`` has unscaled them
        and a loop has clipped them. A loop that wants to clip the result of Eq. 2 does so in a hook that it
        registers afterwards (``optimizer.register_step_pre_hook``). A step that ``GradScaler`` skips changes nothing.

        Args:
            optimizer: Of the whole model; ``torch.optim``'s or one derived from it, fused or not, with a closure or
                without.
            lr_mult: The learning rate of compactors as a multiple of that of other weights. Short runs with a
                calibrated start want 0.001, others 0.1: a compactor is a whole matrix in front of its layer, and
                Adam's first steps, all signs, shake a pretrained model.
            own_group: Move the compactors into a parameter group of their own, with beta1 0.99 and without weight
                decay, unless they have one. False leaves all groups as they are.
            log: Called with numbers whenever masks are rebuilt: reduction ``wanted`` and reached (``reduction``),
                channels that flipped (``flips``), the largest norm of a masked channel (``masked_norm``), channels
                kept and widths left per block (``kept/0.ffn``, ``width/0.qk``).

        Returns:
            A sentence: when masked channels vanish. Empty for a run that is continued.

        Raises:
            UserError: The optimizer does not train all compactors, or masked channels cannot vanish before the run
                ends and ``allow_remnants`` does not permit that.
        """
        if not isinstance(optimizer, Optimizer):
            raise UserError(f'`optimizer`: a {type(optimizer).__name__} has no step hooks; give one of torch.optim.')
        require('lr_mult', lr_mult, is_number(lr_mult) and lr_mult > 0, 'a positive number')
        columns = self._columns()
        if own_group:
            give_own_group(optimizer, columns, lr_mult)
        group = group_of(optimizer, columns)
        sentence = ''
        if self.steps == 0:  # later the columns have shrunk, and the check was passed
            sentence = self.check_vanishing(group.get('initial_lr', group['lr']), group.get('betas', (0, None))[1])
        self._log = log
        self.detach()
        self._handles = hook_steps(optimizer, self._before_step, self.apply_gradient_rule, self._after_step)
        return sentence

    def detach(self) -> None:
        """Take the hooks off the optimizer."""
        while self._handles:
            self._handles.pop().remove()

    def fold(self, tolerance: float | None = 1e-3, pad_to: int = PAD_TO) -> Classifier | Backbone:
        """The small model: a copy with compactors multiplied in and masked channels cut, in eval mode.

        Args:
            tolerance: The largest column norm that may be cut; None cuts columns of any norm.
            pad_to: Widths are padded with zeros to multiples of this, for fast kernels; 0 leaves them as selected.

        Raises:
            UserError: The run has not reached its target yet, or a channel that would be cut has not vanished.
        """
        if self.steps <= self.ramp_end:
            raise UserError(f'after {self.steps} of {self.total_steps} steps the masks save {self.reduction:.1%}, and '
                            f'{self.settings.target:.1%} only after {self.ramp_end + 1}: train on.')
        if isinstance(self.model, Classifier):
            return fold_classifier(self.model, self.masks(), tolerance, pad_to, cdcp=asdict(self.settings))
        return fold(self.backbone, self.masks(), tolerance, pad_to).backbone

    def state_dict(self) -> dict[str, Any]:
        """The state of the pruner, which a continued run needs together with those of model and optimizer."""
        return {'steps': self.steps, 'rule': self.rule}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue after the steps that :meth:`state_dict` counted."""
        steps, rule = state['steps'], state.get('rule', self.rule)
        require('steps', steps, is_whole(steps), 'a whole number, 0 or more')
        require('rule', rule, rule in (None, 'lasso', 'proximal'), 'lasso or proximal')
        self.steps, self.rule = steps, rule

    @property
    def reduction(self) -> float:
        """The share of the dense model's MACs that the current masks save."""
        return reduction_of(self.backbone)

    @property
    def shrink(self) -> float:
        """The amount by which a proximal step shortens a masked column."""
        return self.settings.shrink or self.accumulation / (VANISHING_LASTS * self.total_steps)

    def masks(self) -> list[BlockChannels]:
        """The current selection, one entry per block, True for channels that stay."""
        return masks_of(self.backbone)

    @torch.no_grad()
    def apply_gradient_rule(self, scale: float = 1.) -> None:
        """Change the compactors' gradients to those of Eq. 2; the proximal rule only silences masked channels.

        Args:
            scale: The factor by which the gradients are scaled.
        """
        strength = self.settings.strength * scale if self.rule == 'lasso' else None
        for compactor in compactors_of(self.backbone):
            if compactor.columns.grad is not None:
                lasso_gradient_(compactor.columns.grad, compactor.columns, compactor.mask, strength)

    def _before_step(self) -> None:
        """Rebuild the masks if they are due at one of the batches of this step."""
        last, interval = self.steps + self.accumulation - 1, self.settings.interval
        due = last - (last - self.ramp_start) % interval
        if due < max(self.steps, self.ramp_start):
            return
        wanted = wanted_reduction(due, self.ramp_start, self.settings.target, self.step, interval, self.ramp_from)
        flips = set_masks(self.backbone, self._select(wanted))
        if self._log is not None:
            self._log({'wanted': wanted, 'flips': flips, **mask_scalars(self.backbone)})

    def _after_step(self) -> None:
        if self.rule == 'proximal':
            for compactor in compactors_of(self.backbone):
                proximal_step(compactor.columns, compactor.mask, self.shrink)
        self.steps += self.accumulation

    def check_vanishing(self, lr: float, beta2: float | None = 0.999) -> str:
        """Choose the rule unless it is given, and return a sentence about when masked channels vanish by it.

        Args:
            lr: The compactors' peak learning rate.
            beta2: That of Adam; None for other optimizers, for which there is no estimate.

        Raises:
            UserError: They cannot vanish before the run ends, and ``allow_remnants`` does not permit that.
        """
        left = self.total_steps - self.ramp_end
        norm = largest_masked_norm(self.backbone, self._select(self.settings.target))
        lasso = math.inf if beta2 is None else self.accumulation * vanishing_steps(
            norm, float(lr), self.ramp_end / self.total_steps, self.total_steps // self.accumulation,
            self.settings.strength, beta2)
        if self.rule is None:
            self.rule = 'lasso' if lasso <= left else 'proximal'
        elif self.rule == 'lasso' and beta2 is None:
            return 'when masked channels vanish by the lasso rule is only known for Adam\'s kind'
        need = lasso if self.rule == 'lasso' else self.accumulation * math.ceil(norm / self.shrink)
        needs = 'more steps than there are' if math.isinf(need) else f'about {need:.0f} steps'
        sentence = (f'masked channels (norm up to {norm:.2g}) need {needs} to vanish by the {self.rule} rule at '
                    f'learning rate {lr:g}; the ramp ends at step {self.ramp_end}, {left} before the run does')
        if need <= left:
            return sentence
        if self.settings.allow_remnants:
            return f'{sentence}: cutting them will change the model'
        raise UserError(
            f'{sentence}: use `rule=proximal` (for short runs), start or ramp earlier (`ramp_start`, `step`), train '
            'longer, or continue nevertheless with `allow_remnants=True`.')

    def _columns(self) -> dict[str, nn.Parameter]:
        """The compactors' parameters by their names in the model."""
        ours = {id(compactor.columns) for compactor in compactors_of(self.backbone)}
        return {name: value for name, value in self.model.named_parameters() if id(value) in ours}

    def _select(self, target: float) -> list[BlockChannels]:
        return select(self.backbone.spec, channel_scores(self.backbone), target, self.consistency, self.settings.align)
