"""A Swin Transformer with tokens merged in its third stage and per-block widths."""
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

import torch.nn.functional as F
from timm.layers import PatchEmbed, trunc_normal_
from torch import Tensor, nn

from cait_mm.arch.swin import SwinArch
from cait_mm.models.arguments import checked_flag, checked_outputs, checked_size
from cait_mm.models.base import Backbone, Output, last
from cait_mm.models.block import Block, DropPathRate
from cait_mm.models.checkpoint import Checkpoint
from cait_mm.models.positions import widen_bias_table, window_of_table
from cait_mm.models.swin_names import official_names
from cait_mm.ops.offsets import resample_offsets
from cait_mm.ops.token_merge import Grid, TokenMerge, interpolation
from cait_mm.ops.windows import WindowAttention
from cait_mm.spec import Spec, Widths
from cait_mm.tokens import TokenReducer, Tokens


class PatchMerging(nn.Module):
    """Swin's step between stages: 2x2 tokens of C channels become one of 2C.

    Odd sides are padded with zeros at the right and the bottom. Channels are concatenated column by column, as in the
    official checkpoints.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(4 * dim)
        self.reduction = nn.Linear(4 * dim, 2 * dim, bias=False)

    def forward(self, x: Tensor, grid: Grid) -> tuple[Tensor, Grid]:
        """(B, H * W, C) on ``grid`` (H, W) -> (B, H' * W', 2C) and its grid, half of it rounded up."""
        x = x.unflatten(1, grid)
        if grid[0] % 2 or grid[1] % 2:
            x = F.pad(x, (0, 0, 0, grid[1] % 2, 0, grid[0] % 2))
        rows, columns = x.shape[1] // 2, x.shape[2] // 2
        x = x.unflatten(2, (columns, 2)).unflatten(1, (rows, 2)).permute(0, 1, 3, 4, 2, 5).flatten(3).flatten(1, 2)
        return self.reduction(self.norm(x)), (rows, columns)


class Stage(nn.Module):
    """The blocks of a stage, the merges before them, and the step to the next stage.

    Args:
        blocks: In order.
        merges: By the index of the block within the stage.
        downsample: None after the last stage that is built.
    """

    def __init__(self, blocks: Sequence[nn.Module], merges: Mapping[str, TokenMerge],
                 downsample: PatchMerging | None) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.merges = nn.ModuleDict(merges)
        self.downsample = downsample


class Swin(Backbone):
    """Swin with asymmetric token merging in its third stage and per-block widths (paper, section IV-D2).

    Windows are ``min(window_size, side)`` on each axis, an axis of one window is not shifted, so merged maps and images
    of any size need no padding beyond whole windows. Merged maps of the third and fourth stage are restored.

    Args:
        arch: ``swin_tiny``, ``swin_small``, ``swin_base``, or a dict with ``embed_dim``, ``depths``, ``num_heads`` and
            optionally ``mlp_ratio``, ``patch_size``, ``window_size``, ``img_size`` (the pretraining size).
        merge: ``(('2.4', 'horizontal'), ...)``: ``'stage.block'``, both 0-based, each before the whole block.
        qk_dim, v_dim, ffn_dim: Widths (per head for qk and v), one for all blocks or one per block, counted through
            all stages; None is dense.
        tokens: Instead of ``merge``: another token reducer (:mod:`cait_mm.tokens`), as ``dict(type='STViTR')``.
        spec: Instead of the above: a :class:`~cait_mm.spec.Spec`, its dict, or the path of its JSON file.
        img_size: Pixels (H, W) of a classifier's images; None is the pretraining size. Any input size works.
        in_channels: Channels of the image; None is the spec's, or 3. Weights of 3 channels are adapted as timm does:
            repeated and scaled, summed for 1.
        out_indices: Stages whose output is returned, one number or several. Stages after the last one are not built.
        final_norm: Apply the classifier's final norm to the last output, instead of a norm of its own (``norm0`` to
            ``norm3``, as in MMSeg and MMDet) to each.
        restore_mode: As in :class:`~cait_mm.models.deit.DeiT`.
        drop_path_rate: Stochastic depth of the last block, to which it grows linearly from 0, or one rate per block.
        with_cp: Recompute blocks in the backward pass to save memory.
        frozen_stages: -1 freezes nothing, 0 the embedding, n also the first n stages.

    Raises:
        UserError: The description is impossible.
    """

    family: ClassVar[str] = 'swin'

    def __init__(self,
                 arch: str | Mapping[str, Any] = 'swin_tiny',
                 merge: Sequence[tuple[str, str]] = (),
                 qk_dim: Widths = None,
                 v_dim: Widths = None,
                 ffn_dim: Widths = None,
                 tokens: None | TokenReducer | Mapping[str, Any] = None,
                 spec: None | str | Spec | Mapping[str, Any] = None,
                 img_size: None | int | tuple[int, int] = None,
                 in_channels: int | None = None,
                 out_indices: int | Sequence[int] = (0, 1, 2, 3),
                 final_norm: bool = False,
                 restore_mode: str = 'nearest',
                 drop_path_rate: DropPathRate = 0.,
                 with_cp: bool = False,
                 frozen_stages: int = -1) -> None:
        super().__init__(arch, merge, dict(qk_dim=qk_dim, v_dim=v_dim, ffn_dim=ffn_dim, tokens=tokens), spec,
                         in_channels, restore_mode, drop_path_rate, with_cp, frozen_stages)
        arch: SwinArch = self.arch
        self.out_indices = checked_outputs(out_indices, len(arch.depths), f'{arch.name} has stages')
        self._check_frozen(len(arch.depths), 'stages')
        self._img_size = checked_size('img_size', img_size) or arch.img_size
        final_norm = checked_flag('final_norm', final_norm)
        self.patch_embed = PatchEmbed(None, arch.patch_size, arch.in_channels, arch.embed_dim, flatten=False,
                                      output_fmt='NHWC', strict_img_size=False, dynamic_img_pad=True,
                                      norm_layer=nn.LayerNorm)
        self._build_blocks()
        self.norm = nn.LayerNorm(self.embed_dim) if final_norm else None
        for stage in () if final_norm else self.out_indices:
            self.add_module(f'norm{stage}', nn.LayerNorm(arch.stage_dim(stage)))
        self._random_weights()
        self.set_restore_mode(restore_mode)
        self._freeze()

    @property
    def stages(self) -> int:
        """Stages that are built: up to the last of ``out_indices``."""
        return self.out_indices[-1] + 1

    @property
    def embed_dim(self) -> int:
        return self.arch.stage_dim(self.out_indices[-1])

    @property
    def img_size(self) -> tuple[int, int]:
        return self._img_size

    def flat_blocks(self) -> list[Block]:
        return [block for stage in self.layers for block in stage.blocks]

    def output_blocks(self) -> tuple[int, ...]:
        return tuple(self.arch.first_blocks[stage] + self.arch.depths[stage] - 1 for stage in self.out_indices)

    def _build_blocks(self) -> None:
        arch, merges = self.arch, self.spec.placed
        stages = []
        for stage, (first, count) in enumerate(zip(arch.first_blocks[:self.stages], arch.depths)):
            dim = arch.stage_dim(stage)
            stages.append(Stage(
                [self._block(first + place, shifted=place % 2 == 1) for place in range(count)],
                {str(place): TokenMerge(dim, merges[first + place].kind) for place in range(count)
                 if first + place in merges},
                PatchMerging(dim) if stage + 1 < self.stages else None))
        self.layers, self.tokens = nn.ModuleList(stages), nn.ModuleDict()  # reducers learn in blocks alone

    def _block(self, index: int, shifted: bool) -> nn.Module:
        arch, spec, dim = self.arch, self.spec.blocks[index], self.arch.dim(index)
        own = self.spec.reducer.block(arch, index, spec, self.drop_path_rates[index])
        if own is not None:
            return own
        attention = WindowAttention(dim, spec.num_heads, spec.qk_dim, spec.v_dim, spec.head_dim, arch.qkv_bias,
                                    arch.window_size, shifted, arch.window_rule)
        return Block(attention, dim, spec.ffn_dim, self.drop_path_rates[index], arch.norm_eps)

    def _random_weights(self) -> None:
        super()._random_weights()
        for block in self.flat_blocks():
            if isinstance(block, Block):
                trunc_normal_(block.attn.relative_position_bias_table, std=.02)
        for stage in self.layers:
            if stage.downsample is not None:
                trunc_normal_(stage.downsample.reduction.weight, std=.02)

    def outputs(self, x: Tensor) -> Iterator[Output]:
        for stage, tokens in enumerate(self._stream(x)):
            if stage in self.out_indices:
                yield Output(stage, tokens, self._output_norm(stage))

    def behind_merges(self, spec: Spec, img_size: tuple[int, int]) -> dict[int, tuple[int, Grid]]:
        arch, first = self.arch, min(spec.placed, default=self.arch.depth)
        return {stage: (arch.stage_dim(stage), arch.stage_grid(stage, img_size)) for stage in self.out_indices
                if arch.first_blocks[stage] + arch.depths[stage] > first}

    def _output_norm(self, stage: int) -> nn.Module | None:
        return getattr(self, f'norm{stage}', self.norm if stage == self.out_indices[-1] else None)

    def forward_tokens(self, x: Tensor) -> tuple[Tensor, Grid]:
        """Image (B, in, H, W) -> the last stage's tokens (B, H' * W', C) and their grid (H', W')."""
        tokens = last(self._stream(x, maps=False))
        return tokens.x if self.norm is None else self.norm(tokens.x), tokens.grid

    def pool(self, tokens: Tensor) -> Tensor:
        return tokens.mean(1)

    def _stream(self, x: Tensor, maps: bool = True) -> Iterator[Tokens]:
        """Yield the tokens at the end of every stage, before the step to the next one; ``maps`` says whether maps are
        wanted.
        """
        x = self.patch_embed(x)
        grid = tuple(x.shape[1:3])
        tokens = Tokens(x.flatten(1, 2), 0, grid, grid, maps=maps)
        for stage in self.layers:
            for place, block in enumerate(stage.blocks):
                if str(place) in stage.merges:
                    x, grid = stage.merges[str(place)](tokens.x, tokens.grid)
                    tokens = self._noted(tokens, tokens._replace(x=x, grid=grid))
                if isinstance(block, Block):
                    tokens = tokens._replace(x=self._run(block, tokens.x, tokens.grid))
                else:  # the reducer's
                    x, memory = self._run(block, tokens.x, tokens.memory, tokens.grid)
                    tokens = tokens._replace(x=x, memory=memory)
            yield tokens
            if stage.downsample is not None:
                tokens = self._next_stage(tokens, stage.downsample)

    def _next_stage(self, tokens: Tokens, step: PatchMerging) -> Tokens:
        """Tokens after the step to the next stage, which the restored tokens take too, if maps are restored with what
        merges took.
        """
        x, grid = step(tokens.x, tokens.grid)
        after = tokens._replace(x=x, grid=grid, size=tuple(-(-side // 2) for side in tokens.size))
        if tokens.lost is None:
            return after
        mode = interpolation(self.restore_mode)
        full, _ = step((tokens.spread(mode) + tokens.lost).flatten(2).transpose(1, 2), tokens.size)
        return after._replace(lost=full.transpose(1, 2).unflatten(2, after.size) - after.spread(mode))

    def unused(self) -> list[str]:
        behind = [f'layers.{stage}.' for stage in range(self.stages, len(self.arch.depths))]
        return [*([] if self.norm else ['norm.']), f'layers.{self.stages - 1}.downsample.', *behind]

    def optional(self) -> list[str]:
        return [*super().optional(), *(f'norm{stage}.' for stage in self.out_indices)]

    def fit(self, checkpoint: Checkpoint) -> list[str]:
        """Convert names of other packages, drop computed buffers, and resize bias tables to this window."""
        checkpoint.state_dict = official_names(checkpoint.state_dict)
        notes = {*self._fit_blocks(checkpoint.state_dict), *self._fit_bias_tables(checkpoint.state_dict)}
        missing = [stage for stage in self.out_indices
                   if hasattr(self, f'norm{stage}') and f'norm{stage}.weight' not in checkpoint.state_dict]
        if missing:
            notes.add(f'norms of the outputs {", ".join(map(str, missing))} start at random')
        return sorted(notes)

    def _fit_blocks(self, state: dict[str, Tensor]) -> Iterator[str]:
        """Let the blocks of a token reducer start from a dense file's, in place, and say so."""
        for index, block in enumerate(self.flat_blocks()):
            path = self.arch.block_path(index)
            table = f'{path}.attn.relative_position_bias_table'
            if not isinstance(block, Block) and state.pop(table, None) is not None:
                new = block.state_dict(prefix=f'{path}.')
                state.update({key: value for key, value in new.items() if key not in state and '.ls' in key})
                yield (f'blocks of {type(self.spec.tokens).__name__} start from those of windows, with what else they '
                       'learn as new')

    def _fit_bias_tables(self, state: dict[str, Tensor]) -> Iterator[str]:
        """Resize tables to this window, in place, and describe the changes.

        The largest table of a checkpoint is of its window. A stage whose grid was smaller has a table of that grid (as
        in the official code and timm), whose offsets are tokens as here; the others are resampled.
        """
        tables = {key: table for key, table in state.items() if key.endswith('relative_position_bias_table')}
        windows = {key: window_of_table(table) for key, table in tables.items()}
        whole, wanted = max(filter(None, windows.values()), default=0), self.arch.window_size
        for key, old in windows.items():
            if old in (None, wanted):
                continue
            if old < whole and old < wanted:
                state[key] = widen_bias_table(tables[key], wanted)
                yield f'bias tables of stages smaller than a window put into the middle of tables of window {wanted}'
            else:
                state[key] = resample_offsets(tables[key], (old, old), (wanted, wanted))
                yield f'bias tables resized from window {old} to {wanted}'

    def get_layer_depth(self, param_name: str, prefix: str = '') -> tuple[int, int]:
        """The layer of a parameter for layer-wise decay: 0 the embedding, i + 1 block i and the layers before it.

        Returns:
            The parameter's layer, and the number of layers (the built blocks + 2).
        """
        layers, name = len(self.flat_blocks()) + 2, param_name[len(prefix):]
        if not param_name.startswith(prefix):
            return layers - 1, layers
        if name.startswith('patch_embed'):
            return 0, layers
        part = re.match(r'layers\.(\d+)\.(?:(?:blocks|merges)\.(\d+)|downsample)', name)
        if not part:
            return layers - 1, layers
        first = self.arch.first_blocks[int(part[1])]
        # A downsampling stands before the next stage's first block.
        return first + (self.arch.depths[int(part[1])] if part[2] is None else int(part[2])) + 1, layers

    def _frozen(self) -> tuple[list[nn.Module], list[nn.Parameter]]:
        if self.frozen_stages < 0:
            return [], []
        norms = [getattr(self, f'norm{stage}') for stage in range(self.frozen_stages) if hasattr(self, f'norm{stage}')]
        return [self.patch_embed, *self.layers[:self.frozen_stages], *norms], []
