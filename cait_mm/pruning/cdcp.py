"""CDCP during training: its settings, the masks and when they are rebuilt, what is done to gradients and columns.

The Runner's side of it is ``engine/cdcp_hook.py``.
"""
import dataclasses
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from cait_mm.errors import UserError
from cait_mm.macs import classifier_cost
from cait_mm.models import Backbone as CAITBackbone
from cait_mm.ops.compactor import Compactor, compactor_of, split_qkv
from cait_mm.pruning.fold import channel_scores
from cait_mm.pruning.rule import lasso_gradient_, proximal_step, ramp_end, vanishing_steps, wanted_reduction
from cait_mm.pruning.selection import BlockChannels, Consistency, pruned_spec, select
from cait_mm.spec import Spec
from cait_mm.utils.schema import is_number, is_share, is_whole

KINDS = (
    (('target', ), lambda value: is_share(value) and value > 0, 'a share between 0 and 1'),
    (('step', 'strength', 'shrink'), lambda value: is_number(value) and value > 0, 'a positive number'),
    (('start_epoch', ), lambda value: is_number(value, 0), 'a number, 0 or more'),
    (('interval', 'align', 'calibration_images'), lambda value: is_whole(value, 1), 'a positive whole number'),
    (('head_consistency', 'attention_consistency', 'allow_remnants'), lambda value: isinstance(value, bool),
     'True or False'),
)
CHOICES = {'start': ('identity', 'calibrated'), 'rule': ('lasso', 'proximal')}


@dataclass(frozen=True)
class CDCPSettings:
    """``model.cdcp`` of a config; the defaults are the paper's.

    Args:
        target: The share of the dense model's MACs to save in the end, merges included.
        start: ``identity`` (the paper's) or ``calibrated``: order channels by what they contribute before training.
        calibration_images: Training images that the calibrated start looks at.
        rule: How masked channels vanish: ``lasso`` (the paper's Eq. 2) or ``proximal``, for short runs.
        strength: Eq. 2's lambda.
        shrink: What a proximal step takes from a masked column's norm; None empties a column of norm 1 in a quarter of
            the run.
        start_epoch: When the ramp begins (Tab. XXI).
        step, interval: The wanted reduction grows by ``step`` and masks are rebuilt every ``interval`` iterations
            (Tab. XXII). A step of None reaches the target in a quarter of the run.
        head_consistency, attention_consistency: The paper's two consistencies (Tab. XI).
        align: Leave widths in multiples of this.
        allow_remnants: Train although masked channels cannot vanish in time.

    Raises:
        UserError: A value is impossible.
    """

    target: float
    start: str = 'identity'
    calibration_images: int = 64
    rule: str = 'lasso'
    strength: float = 1e-5
    shrink: float | None = None
    start_epoch: float = 30
    step: float | None = 0.00025
    interval: int = 25
    head_consistency: bool = True
    attention_consistency: bool = True
    align: int = 1
    allow_remnants: bool = False

    def __post_init__(self) -> None:
        for name, choices in CHOICES.items():
            if getattr(self, name) not in choices:
                raise UserError(f'model.cdcp.{name}={getattr(self, name)!r}: use {" or ".join(choices)}.')
        for names, test, what in KINDS:
            for name in names:
                value = getattr(self, name)
                if not test(value) and not (value is None and name in ('shrink', 'step')):
                    raise UserError(f'model.cdcp.{name}={value!r}: it has to be {what}.')

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> 'CDCPSettings':
        """Read ``model.cdcp``.

        Raises:
            UserError: It names something unknown, or lacks the target.
        """
        known = [field.name for field in dataclasses.fields(cls)]
        unknown = [key for key in config if key not in known]
        if unknown or 'target' not in config:
            what = f'unknown {", ".join(unknown)}' if unknown else 'no target'
            raise UserError(f'model.cdcp has {what}; it takes {", ".join(known)}.')
        return cls(**config)


class CDCP:
    """The masks of a backbone with compactors over a training run.

    Masks live in the compactors' ``mask`` buffers, so that checkpoints carry them. They depend on the weights and the
    iteration alone: every process computes the same ones.

    Args:
        backbone: Full widths, with compactors.
        settings: See :class:`CDCPSettings`.
        start: Iteration at which the ramp begins.
        iterations: Length of the run.
        accumulated: Iterations per optimizer step.

    Raises:
        UserError: The target is out of reach with these merges, or the ramp does not end within the run.
    """

    def __init__(self, backbone: CAITBackbone, settings: CDCPSettings, start: int, iterations: int,
                 accumulated: int = 1) -> None:
        self.backbone, self.settings, self.start = backbone, settings, start
        self.iterations, self.accumulated = iterations, accumulated
        self.step = settings.step or settings.target * 4 * settings.interval / iterations
        self.end = ramp_end(start, settings.target, self.step, settings.interval)
        self.consistency = Consistency(settings.head_consistency, settings.attention_consistency)
        self._select(settings.target)
        if self.end >= iterations:
            raise UserError(
                f'the ramp reaches {settings.target:.1%} at iteration {self.end}, after the run\'s {iterations}: start '
                'earlier (model.cdcp.start_epoch), take larger steps (model.cdcp.step), or train longer.')

    @property
    def shrink(self) -> float:
        """What a proximal step takes from the norm of a masked column."""
        return self.settings.shrink or 4 * self.accumulated / self.iterations

    def check_vanishing(self, lr: float, beta2: float = 0.999) -> str:
        """Say when masked channels vanish.

        Args:
            lr: The compactors' peak learning rate.
            beta2: Adam's.

        Returns:
            A sentence for the log.

        Raises:
            UserError: They cannot vanish before the run ends, and ``allow_remnants`` does not permit that.
        """
        left = self.iterations - self.end
        norm = self.largest_masked_norm(self._select(self.settings.target))
        if self.settings.rule == 'proximal':
            steps = math.ceil(norm / self.shrink)
        else:
            steps = vanishing_steps(norm, lr, self.end / self.iterations, self.iterations // self.accumulated,
                                    self.settings.strength, beta2)
        need = steps * self.accumulated
        needs = 'more iterations than there are' if math.isinf(need) else f'about {need:.0f} iterations'
        sentence = (f'masked channels (norm up to {norm:.2g}) need {needs} to vanish by the {self.settings.rule} rule '
                    f'at learning rate {lr:g}; the ramp ends at iteration {self.end}, {left} before the run does')
        if need <= left:
            return sentence
        if self.settings.allow_remnants:
            return f'{sentence}: cutting them will change the model'
        raise UserError(
            f'{sentence}: use model.cdcp.rule=proximal (for short runs), start or ramp earlier '
            '(model.cdcp.start_epoch, model.cdcp.step), train longer, or go on all the same with '
            'model.cdcp.allow_remnants=True.')

    def before_iteration(self, iteration: int) -> dict[str, float] | None:
        """Rebuild the masks from scratch where the schedule says so.

        Returns:
            Scalars to log when they were rebuilt: reduction wanted and reached, flipped channels, the largest norm of
            a masked channel, kept channels of every block and module.
        """
        if iteration < self.start or (iteration - self.start) % self.settings.interval:
            return None
        wanted = wanted_reduction(iteration, self.start, self.settings.target, self.step, self.settings.interval)
        masks = self._select(wanted)
        flips = 0
        for compactor, mask in zip(self.compactors(), _stacked(masks)):
            flips += int((compactor.mask != mask).sum())
            compactor.mask.copy_(mask)
        return {'wanted': wanted, 'flips': flips, **self.scalars()}

    def scalars(self) -> dict[str, float]:
        """What describes the current masks, by name."""
        masks = self.masks()
        pruned = pruned_spec(self.backbone.spec, masks)
        dense = classifier_cost(Spec.dense(self.backbone.spec.arch)).macs
        found = {'reduction': 1 - classifier_cost(pruned).macs / dense, 'masked_norm': self.largest_masked_norm()}
        for index, (mask, block) in enumerate(zip(masks, pruned.blocks)):
            index = pruned.arch.block_name(index)
            found.update({f'kept/{index}.{name}': int(getattr(mask, name).sum()) for name in ('q', 'k', 'v', 'ffn')})
            found.update({f'width/{index}.qk': block.qk_dim, f'width/{index}.v': block.v_dim})
        return found

    def masks(self) -> list[BlockChannels]:
        """The current selection, one entry per block, True for channels that stay."""
        return masks_of(self.backbone)

    @torch.no_grad()
    def apply_gradient_rule(self) -> None:
        """Turn the compactors' gradients into Eq. 2's; the proximal rule only silences masked channels."""
        strength = self.settings.strength if self.settings.rule == 'lasso' else 0.
        for compactor in self.compactors():
            if compactor.columns.grad is not None:
                lasso_gradient_(compactor.columns.grad, compactor.columns, compactor.mask, strength)

    def after_step(self) -> None:
        """What follows the optimizer's step: nothing for the lasso, the proximal step for the proximal rule."""
        if self.settings.rule == 'proximal':
            for compactor in self.compactors():
                proximal_step(compactor.columns, compactor.mask, self.shrink)

    @torch.no_grad()
    def largest_masked_norm(self, masks: list[BlockChannels] | None = None) -> float:
        """The largest column norm among the channels that ``masks`` (the current ones) drop; 0 where it is none."""
        return max(float((compactor.column_norms() * ~mask).max())
                   for compactor, mask in zip(self.compactors(), _stacked(masks or self.masks())))

    def compactors(self) -> Iterator[Compactor]:
        """Every compactor, block by block: qkv, then FFN."""
        for block in self.backbone.flat_blocks():
            yield compactor_of(block.attn.qkv)
            yield compactor_of(block.mlp.fc1)

    def _select(self, target: float) -> list[BlockChannels]:
        return select(self.backbone.spec, channel_scores(self.backbone), target, self.consistency, self.settings.align)


def masks_of(backbone: CAITBackbone) -> list[BlockChannels]:
    """The selection that the compactors of ``backbone`` hold."""
    return [BlockChannels(*split_qkv(compactor_of(block.attn.qkv).mask, block.attn.num_heads),
                          compactor_of(block.mlp.fc1).mask[0]) for block in backbone.flat_blocks()]


def _stacked(masks: list[BlockChannels]) -> Iterator[torch.Tensor]:
    """Masks in the order and shape of :meth:`CDCP.compactors`."""
    for block in masks:
        yield torch.cat([block.q, block.k, block.v])
        yield block.ffn[None]
