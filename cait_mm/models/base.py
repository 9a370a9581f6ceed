"""The base class of the ViTs of all families: a spec, tokens that stream through blocks, frozen stages."""
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from timm.layers import trunc_normal_
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint as recompute

from cait_mm.arch import Arch
from cait_mm.errors import UserError
from cait_mm.models.arguments import checked_flag, checked_grid, checked_whole
from cait_mm.models.block import Block, DropPathRate, drop_path_rates
from cait_mm.models.carried import with_channels
from cait_mm.models.checkpoint import GRID_META, Checkpoint, LoadReport, state_grid
from cait_mm.models.loading import load_checkpoint
from cait_mm.ops.token_merge import RESTORE_MODES, Grid, restore, spread
from cait_mm.spec import Spec, Widths, make_spec


class Backbone(nn.Module, ABC):
    """A ViT with merged tokens and per-block widths that gives dense feature maps.

    A family's backbone builds its modules under the names of its official checkpoints and says how tokens stream
    through them.

    Raises:
        UserError: The description is impossible.
    """

    family: ClassVar[str]
    num_cls: ClassVar[int] = 0
    """CLS tokens in front of the grid."""
    stem_key: ClassVar[str] = 'patch_embed.proj.weight'
    """The convolution that sees the image's channels."""
    classifier_options: ClassVar[Mapping[str, Any]] = {'out_indices': (-1,), 'final_norm': True}
    """The arguments that make it the backbone of a classifier: the last output alone, behind the final norm."""

    def __init__(self,
                 arch: str | Mapping[str, Any],
                 merge: Sequence[tuple[int | str, str]],
                 widths: Mapping[str, Widths],
                 spec: None | str | Spec | Mapping[str, Any],
                 in_channels: int | None,
                 restore_mode: str,
                 drop_path_rate: DropPathRate,
                 with_cp: bool,
                 frozen_stages: int) -> None:
        super().__init__()
        spec = make_spec(arch, merge, family=self.family, **widths) if spec is None else _as_spec(spec)
        if spec.arch.family != self.family:
            raise UserError(f'{type(self).__name__} cannot be a {spec.arch.name}: it builds {self.family} models.')
        if in_channels is not None:
            spec = with_channels(spec, checked_whole('in_channels', in_channels, 1))
        self.spec = self._final_spec(spec, in_channels is not None)
        if restore_mode not in RESTORE_MODES:
            raise UserError(f'restore_mode={restore_mode!r}: use {", ".join(RESTORE_MODES)}.')
        self.drop_path_rates = drop_path_rates(drop_path_rate, self.arch.depth)
        self.restore_mode, self.with_cp = restore_mode, checked_flag('with_cp', with_cp)
        self.frozen_stages = checked_whole('frozen_stages', frozen_stages, -1)
        self._register_state_dict_hook(state_grid)

    def _final_spec(self, spec: Spec, channels_stated: bool) -> Spec:
        """The spec to build; subclasses may take it from a checkpoint instead of the arguments."""
        return spec

    @property
    def arch(self) -> Arch:
        return self.spec.arch

    @property
    def embed_dim(self) -> int:
        """Channels of the last block's tokens."""
        return self.arch.out_dim

    @property
    @abstractmethod
    def img_size(self) -> tuple[int, int]:
        """Pixels (H, W) of the images that a classifier of this backbone expects."""

    @property
    def grid(self) -> Grid | None:
        """The grid (H, W) of this backbone's positional embedding; None if it has none."""
        return None

    @abstractmethod
    def flat_blocks(self) -> list[Block]:
        """All blocks that are built, through all stages."""

    @abstractmethod
    def forward_tokens(self, x: Tensor) -> tuple[Tensor, Grid]:
        """Image (B, C, H, W) -> the last block's tokens (B, N, C), CLS first where there is one, and their grid."""

    @abstractmethod
    def pool(self, tokens: Tensor) -> Tensor:
        """The vector that a classifier's head reads: tokens (B, N, C) -> (B, C)."""

    @abstractmethod
    def fit(self, checkpoint: Checkpoint) -> list[str]:
        """Convert, in place, the names and position parameters of a checkpoint; returns sentences for the log."""

    @abstractmethod
    def unused(self) -> list[str]:
        """Prefixes of checkpoint keys that this backbone does not use."""

    def optional(self) -> list[str]:
        """Prefixes of keys of this backbone that a checkpoint may lack, because classifiers do not have them."""
        return []

    def load_checkpoint(self, checkpoint: Checkpoint) -> LoadReport:
        """Load an official, timm or compressed checkpoint; all of the backbone's weights must arrive.

        Merges may be absent from a dense checkpoint and then start as means. Position parameters are resampled to this
        backbone's grid, a stem of 3 channels is adapted to more or fewer.

        Raises:
            UserError: It is another model, or keys are missing, unexpected or misshapen (all are listed).
        """
        return load_checkpoint(self, checkpoint)

    def _load_from_state_dict(self, state_dict: dict[str, Tensor], prefix: str, local_metadata: Mapping[str, Any],
                              strict: bool, missing_keys: list[str], unexpected_keys: list[str],
                              error_msgs: list[str]) -> None:
        """PyTorch's loading, with a check that positions of the same number are on the same grid."""
        stated = checked_grid(local_metadata.get(GRID_META))
        if self.grid is not None and stated not in (None, self.grid):
            error_msgs.append(f'{prefix}pos_embed is for a grid of {stated[0]}x{stated[1]} patches, and this model '
                              f'has {self.grid[0]}x{self.grid[1]}: use load_checkpoint, which resamples it.')
        super()._load_from_state_dict(state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys,
                                      error_msgs)

    def rebuild(self, spec: Spec) -> None:
        """Change to ``spec``, of the same architecture; blocks and merges start from random weights."""
        like, training = next(self.parameters()), self.training
        self.spec = spec
        self._build_blocks()
        self.to(like).train(training)
        self._freeze()

    @abstractmethod
    def _build_blocks(self) -> None:
        """Build blocks and merges of the widths in ``self.spec``."""

    @abstractmethod
    def _frozen(self) -> tuple[list[nn.Module], list[nn.Parameter]]:
        """Modules and bare parameters that ``frozen_stages`` freezes."""

    def _random_weights(self) -> None:
        """The families' own initialisation; merges keep their mean."""
        for block in self.flat_blocks():
            for module in block.modules():
                if isinstance(module, nn.Linear):
                    trunc_normal_(module.weight, std=.02)
                    if module.bias is not None:
                        nn.init.zeros_(module.bias)

    def _run(self, block: Block, x: Tensor, *grid: Grid) -> Tensor:
        if self.with_cp and torch.is_grad_enabled():
            return recompute(block, x, *grid, use_reentrant=False)
        return block(x, *grid)

    def _map(self, tokens: Tensor, grid: Grid, lost: Tensor | None, size: Grid, norm: nn.Module | None) -> Tensor:
        """Patch tokens (B, N, C) on ``grid`` as a map (B, C, H, W) of ``size``, with the differences of merges."""
        if lost is not None:
            tokens, grid = (spread(tokens, grid, size) + lost).flatten(2).transpose(1, 2), size
        tokens = tokens if norm is None else norm(tokens)
        merged = tokens.transpose(1, 2).unflatten(2, grid).contiguous()
        return restore(merged, size, 'bilinear' if self.restore_mode == 'bilinear' else 'nearest')

    def _lost(self, lost: Tensor | None, before: tuple[Tensor, Grid], after: tuple[Tensor, Grid],
              size: Grid) -> Tensor | None:
        """``lost`` plus the difference that a merge makes to every patch; None unless maps are restored with it."""
        if self.restore_mode != 'residual':
            return None
        difference = spread(*before, size) - spread(*after, size)
        return difference if lost is None else lost + difference

    def _check_frozen(self, count: int, what: str) -> None:
        if self.frozen_stages > count:
            raise UserError(f'frozen_stages={self.frozen_stages}: {self.arch.name} has {count} {what}.')

    def _freeze(self) -> None:
        modules, parameters = self._frozen()
        for module in modules:
            module.eval()
            module.requires_grad_(False)
        for parameter in parameters:
            parameter.requires_grad = False

    def train(self, mode: bool = True) -> 'Backbone':
        super().train(mode)
        for module in self._frozen()[0]:
            module.eval()
        return self


def backbone_inside(model: nn.Module) -> Backbone:
    """The one backbone of this package in ``model``.

    Raises:
        UserError: There is none, or there are several.
    """
    backbones = [module for module in model.modules() if isinstance(module, Backbone)]
    if len(backbones) != 1:
        raise UserError(f'`model`: {type(model).__name__} holds {len(backbones) or "no"} backbones of cait_mm, and one '
                        'is wanted: CAITDeiT, CAITLVViT, CAITSwin or CAITViT.')
    return backbones[0]


def last(stream: Iterator[Any]) -> Any:
    """The last item of an iterator, keeping no other."""
    return deque(stream, maxlen=1).pop()


def _as_spec(spec: str | Spec | Mapping[str, Any]) -> Spec:
    if isinstance(spec, Spec):
        return spec
    if isinstance(spec, (str, Path)):
        return Spec.from_file(spec)
    return Spec.from_dict(spec)
