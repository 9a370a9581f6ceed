"""The base class of the ViTs of all families: a spec, tokens that stream through blocks, frozen stages."""
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

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
from cait_mm.ops.token_merge import RESTORE_MODES, Grid, interpolation, keeps_differences
from cait_mm.spec import Spec, Widths, make_spec
from cait_mm.tokens import Tokens

LINEAR = 'residual_linear'


class Output(NamedTuple):
    """An output of a backbone before it is a map: its number, the tokens there, and the norm that follows, if any."""

    number: int
    tokens: Tokens
    norm: nn.Module | None


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
        self.restore_mode, self.restores = restore_mode, nn.ModuleDict()
        self.drop_path_rates = drop_path_rates(drop_path_rate, self.arch.depth)
        self.with_cp = checked_flag('with_cp', with_cp)
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
    def output_blocks(self) -> tuple[int, ...]:
        """The blocks whose output becomes a map."""

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
        return ['restores.'] if self.restores else []

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
        self.set_restore_mode(self.restore_mode)
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

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Image (B, in, H, W) -> maps (B, C, h, w), one per output."""
        return tuple(self._map(output) for output in self.outputs(x))

    @abstractmethod
    def outputs(self, x: Tensor) -> Iterator[Output]:
        """Image (B, in, H, W) -> the outputs, not yet restored to maps."""

    @abstractmethod
    def behind_merges(self, spec: Spec, img_size: tuple[int, int]) -> dict[int, tuple[int, Grid]]:
        """Channels and patches (H, W) of the outputs that a token reducer of ``spec`` changes, for an image of
        ``img_size`` pixels.
        """

    def set_restore_mode(self, mode: str) -> None:
        """Restore maps by ``mode`` from now on; linear layers of ``residual_linear`` start as the identity.

        Raises:
            UserError: It is none of :data:`~cait_mm.ops.token_merge.RESTORE_MODES`.
        """
        if mode not in RESTORE_MODES:
            raise UserError(f'restore_mode={mode!r}: use {", ".join(RESTORE_MODES)}.')
        self.restore_mode, self.restores = mode, nn.ModuleDict()
        like = next(self.parameters())
        for output, (dim, _) in self.behind_merges(self.spec, self.img_size).items() if mode == LINEAR else ():
            layer = nn.Linear(dim, dim, bias=False).to(like)
            nn.init.eye_(layer.weight)
            self.restores[str(output)] = layer

    def restore_macs(self, spec: Spec, img_size: tuple[int, int], mode: str) -> int:
        """MACs of restoring the maps of ``spec`` by ``mode``, on an image of ``img_size`` (H, W) pixels.

        Interpolations count 4 per value, as in fvcore: one per output, and those around merges and between stages. All
        are taken as large as the largest; padding of odd sides is left out.
        """
        outputs, merges = self.behind_merges(spec, img_size).values(), len(spec.merges)
        linear = sum(height * width * dim**2 for dim, (height, width) in outputs) if mode == LINEAR else 0
        if not merges or interpolation(mode) == 'nearest':
            return linear
        values = max((dim * height * width for dim, (height, width) in outputs), default=0)
        around = 2 * merges - 1 + 2 * len({dim for dim, _ in outputs}) - 2 if keeps_differences(mode) else 0
        return linear + 4 * values * (len(outputs) + around)

    def _map(self, output: Output) -> Tensor:
        """The map (B, C, H, W) of an output: restored, with the differences of merges, and normalised."""
        name, tokens, norm = output
        scattered, lost = tokens.record is not None, self._restored(tokens.lost, name)
        if norm is not None and lost is None and not (scattered and tokens.record.keeps_tokens):
            tokens, norm = tokens._replace(x=norm(tokens.x)), None  # fewer tokens than patches
        full = tokens.spread(interpolation(self.restore_mode))
        full = full if lost is None else full + lost
        return full.contiguous() if norm is None else norm(full.permute(0, 2, 3, 1)).permute(0, 3, 1, 2).contiguous()

    def _restored(self, lost: Tensor | None, output: int) -> Tensor | None:
        """What is added to the map of an output."""
        if lost is None or str(output) not in self.restores:
            return lost
        return self.restores[str(output)](lost.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)

    def _noted(self, before: Tokens, after: Tokens) -> Tokens:
        """``after``, with what a merge took from every patch, if maps are restored with it."""
        if not keeps_differences(self.restore_mode) or after is before or not after.maps:
            return after
        mode = interpolation(self.restore_mode)
        difference = before.spread(mode) - after.spread(mode)
        return after._replace(lost=difference if before.lost is None else before.lost + difference)

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
