"""A DeiT with merged tokens and per-block widths that gives dense feature maps."""
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar

import torch
from timm.layers import PatchEmbed, trunc_normal_
from torch import Tensor, nn

from cait_mm.errors import UserError
from cait_mm.models.arguments import checked_flag, checked_outputs, checked_size
from cait_mm.models.base import Backbone, Output, last
from cait_mm.models.block import Block, DropPathRate
from cait_mm.models.checkpoint import Checkpoint
from cait_mm.models.formats import as_plain_vit
from cait_mm.models.positions import grid_of, resize_pos_embed
from cait_mm.ops.attention import Attention
from cait_mm.ops.token_merge import Grid
from cait_mm.spec import Spec, Widths
from cait_mm.tokens import Looked, TokenReducer, Tokens


class DeiT(Backbone):
    """DeiT with asymmetric token merging and per-block widths (the paper's ATME, and widths as CDCP leaves them).

    ``arch``, ``merge`` and the widths, or ``spec`` alone, describe the model.

    Args:
        arch: ``deit_tiny``, ``deit_small``, ``deit_base``, or a dict with ``embed_dim``, ``depth``, ``num_heads`` and
            optionally ``mlp_ratio``, ``patch_size``, ``img_size`` (the pretraining size).
        merge: ``((block, kind), ...)``, 0-based, each before the whole block.
        qk_dim, v_dim, ffn_dim: Widths (per head for qk and v), one for all blocks or one per block; None is dense.
        tokens: Instead of ``merge``: another token reducer (:mod:`cait_mm.tokens`), as ``dict(type='ToMe', r=13)``.
        spec: Instead of the above: a :class:`~cait_mm.spec.Spec`, its dict, or the path of its JSON file.
        img_size: Pixels (H, W) the positional embedding is held for; None is the pretraining size. Other inputs work
            too, at the price of resizing it in every forward pass.
        in_channels: Channels of the image; None is the spec's, or 3. Weights of 3 channels are adapted as timm does:
            repeated and scaled, summed for 1.
        out_indices: Blocks whose output is returned, one number or several. Blocks after the last one are not built.
        with_cls_token: Keep the CLS token. It costs one token and takes part in attention, as it did in pretraining.
        final_norm: Apply the classifier's final norm to the last output.
        restore_mode: ``nearest`` (the paper's) or ``bilinear`` upsampling of merged maps; ``residual`` and
            ``residual_bilinear`` add to every patch its difference from the merged tokens, ``residual_linear`` through
            a linear layer for every output (:data:`~cait_mm.ops.token_merge.RESTORE_MODES`).
        drop_path_rate: Stochastic depth of the last block, to which it grows linearly from 0, or one rate per block.
        with_cp: Recompute blocks in the backward pass to save memory.
        frozen_stages: -1 freezes nothing, 0 the embedding, n also the first n blocks and the merges before them; if
            these are all blocks, the final norm too.

    Raises:
        UserError: The description is impossible.
    """

    family: ClassVar[str] = 'deit'
    behind: ClassVar[tuple[str, ...]] = ('norm.', 'restores.')
    """Prefixes of the parameters behind the last block."""

    def __init__(self,
                 arch: str | Mapping[str, Any] = 'deit_small',
                 merge: Sequence[tuple[int, str]] = (),
                 qk_dim: Widths = None,
                 v_dim: Widths = None,
                 ffn_dim: Widths = None,
                 tokens: None | TokenReducer | Mapping[str, Any] = None,
                 spec: None | str | Spec | Mapping[str, Any] = None,
                 img_size: None | int | tuple[int, int] = None,
                 in_channels: int | None = None,
                 out_indices: int | Sequence[int] = (3, 5, 7, 11),
                 with_cls_token: bool = True,
                 final_norm: bool = False,
                 restore_mode: str = 'nearest',
                 drop_path_rate: DropPathRate = 0.,
                 with_cp: bool = False,
                 frozen_stages: int = -1) -> None:
        super().__init__(arch, merge, dict(qk_dim=qk_dim, v_dim=v_dim, ffn_dim=ffn_dim, tokens=tokens), spec,
                         in_channels, restore_mode, drop_path_rate, with_cp, frozen_stages)
        depth = self.arch.depth
        self.out_indices = checked_outputs(out_indices, depth, f'{self.arch.name} has blocks')
        self._check_frozen(depth, 'blocks')
        self.patch_embed = self._stem()
        self.pos_grid = self.arch.grid(checked_size('img_size', img_size))
        self._build_tokens(checked_flag('with_cls_token', with_cls_token))
        if self.spec.reducer.needs_cls and self.cls_token is None:
            raise UserError(f'tokens={type(self.spec.reducer).__name__} asks the CLS token which tokens matter: leave '
                            'with_cls_token=False out.')
        self._build_blocks()
        self.norm = self._final_norm() if checked_flag('final_norm', final_norm) else None
        self._random_weights()
        self.set_restore_mode(restore_mode)
        self._freeze()

    def _stem(self) -> nn.Module:
        """Image (B, in, H, W) -> patches (B, C, h, w)."""
        return PatchEmbed(None, self.arch.patch_size, self.arch.in_channels, self.arch.embed_dim, flatten=False,
                          strict_img_size=False, dynamic_img_pad=True)

    def _build_tokens(self, with_cls_token: bool) -> None:
        """The tokens in front of the grid, and the positions of all."""
        dim, patches = self.arch.embed_dim, self.pos_grid[0] * self.pos_grid[1]
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim)) if with_cls_token else None
        self.pos_embed = nn.Parameter(torch.zeros(1, patches + self.num_cls, dim))

    def _final_norm(self) -> nn.Module | None:
        """The norm behind the last block, where a classifier of this architecture has one."""
        return nn.LayerNorm(self.arch.embed_dim, eps=self.arch.norm_eps)

    def _embedding(self) -> list[nn.Module]:
        """The modules in front of the blocks."""
        return [self.patch_embed]

    @property
    def depth(self) -> int:
        """Blocks that are built: up to the last of ``out_indices``."""
        return self.out_indices[-1] + 1

    @property
    def img_size(self) -> tuple[int, int]:
        """Pixels (H, W) that the grid of the positional embedding covers."""
        patch = self.arch.patch_size
        return self.pos_grid[0] * patch, self.pos_grid[1] * patch

    @property
    def grid(self) -> Grid:
        return self.pos_grid

    @property
    def num_cls(self) -> int:
        """CLS tokens in front of the grid: 1 or 0."""
        return int(self.cls_token is not None)

    def flat_blocks(self) -> list[Block]:
        return list(self.blocks)

    def output_blocks(self) -> tuple[int, ...]:
        return tuple(self.out_indices)

    def _build_blocks(self) -> None:
        self.blocks = nn.ModuleList(self._block(index) for index in range(self.depth))
        parts = self.spec.reducer.parts(self.arch, self.depth, self.num_cls)
        self.tokens, self.merges = (nn.ModuleDict(), parts) if self.spec.tokens is None else (parts, nn.ModuleDict())

    def _block(self, index: int, residual_scale: float = 1.) -> Block:
        spec, dim = self.spec.blocks[index], self.arch.embed_dim
        attention = Attention(dim, spec.num_heads, spec.qk_dim, spec.v_dim, spec.head_dim, self.arch.qkv_bias)
        return Block(attention, dim, spec.ffn_dim, self.drop_path_rates[index], self.arch.norm_eps, residual_scale)

    def _random_weights(self) -> None:
        for parameter in reversed(list(self.parameters(recurse=False))):  # the order of seeds so far
            trunc_normal_(parameter, std=.02)
        super()._random_weights()

    def outputs(self, x: Tensor) -> Iterator[Output]:
        for index, tokens in enumerate(self._stream(x)):
            if index in self.out_indices:
                yield Output(index, tokens, self.norm if index == self.out_indices[-1] else None)

    def behind_merges(self, spec: Spec, img_size: tuple[int, int]) -> dict[int, tuple[int, Grid]]:
        first = min(spec.reducer.blocks(self.arch), default=self.depth)
        return {index: (self.embed_dim, self.arch.grid(img_size)) for index in self.out_indices if index >= first}

    def forward_tokens(self, x: Tensor) -> tuple[Tensor, Grid]:
        """Image (B, in, H, W) -> the last block's tokens (B, 1 + N, C), CLS first, and their grid (H', W'); that of all
        patches where tokens do not lie on a grid.
        """
        tokens = self.spec.reducer.end(last(self._stream(x, maps=False)))
        return tokens.x if self.norm is None else self.norm(tokens.x), tokens.grid

    def pool(self, tokens: Tensor) -> Tensor:
        return tokens[:, 0]

    def _stream(self, x: Tensor, maps: bool = True) -> Iterator[Tokens]:
        """Yield the tokens behind every block; ``maps`` says whether maps are wanted."""
        x, grid = self._embed(x)
        reducer, parts = self.spec.reducer, self.merges if self.spec.tokens is None else self.tokens
        tokens = Tokens(x, self.num_cls, grid, grid, self._places(grid, x), maps=maps)
        for index, block in enumerate(self.blocks):
            tokens = self._noted(tokens, reducer.before(index, tokens, parts))
            seen = self._seen(index, block, tokens)
            if reducer.looks(index):
                look = partial(block.look, weigh=reducer.weigh(index, tokens))
                x, q, k, weights = self._run(look, tokens.x, *seen)
                tokens, looked = tokens._replace(x=x), Looked(q, k, tokens.bias, block.attn.scale, weights)
                tokens = self._noted(tokens, reducer.between(index, tokens, looked, parts))
                tokens = tokens._replace(x=self._run(block.feed, tokens.x))
            else:
                tokens = tokens._replace(x=self._run(block, tokens.x, *seen))
            tokens = reducer.after(index, tokens, parts)
            yield tokens

    def _embed(self, x: Tensor) -> tuple[Tensor, Grid]:
        """Image (B, in, H, W) -> the tokens in front of block 0, (B, N, C), and the grid of the last ones."""
        maps = self.patch_embed(x)
        grid, x = tuple(maps.shape[-2:]), maps.flatten(2).transpose(1, 2)
        if self.num_cls:
            x = torch.cat([self.cls_token.expand(x.shape[0], -1, -1), x], dim=1)
        return x + resize_pos_embed(self.pos_embed, self.pos_grid, grid), grid

    def _places(self, grid: Grid, x: Tensor) -> Any:
        """The patches' places on ``grid`` for positions that act in attention, on the device of ``x``; None here.

        They have a method ``merged(grid, kind, size, prefix)``, for the places behind a merge of ``kind`` on ``grid``.
        """

    def _seen(self, index: int, block: nn.Module, tokens: Tokens) -> tuple[Any, ...]:
        """What a block's attention wants next to its tokens: the bias of merged tokens, and positions."""
        return () if tokens.bias is None else (tokens.bias, )

    def unused(self) -> list[str]:
        parts = ('blocks', 'merges', 'tokens')
        behind = [f'{part}.{index}.' for part in parts for index in range(self.depth, self.arch.depth)]
        proportions = [f'merges.{block}.proportion' for block in self.merges]
        return [*([] if self.norm else ['norm.']), *behind, *([] if self.num_cls else ['cls_token', *proportions])]

    def fit(self, checkpoint: Checkpoint) -> list[str]:
        """Convert a relative of DeiT, and resample the checkpoint's pos_embed to this backbone's grid; say so."""
        notes = []
        if checkpoint.foreign:
            checkpoint.state_dict, notes = as_plain_vit(checkpoint.path, checkpoint.state_dict)
        return notes + self._fit_positions(checkpoint, int('cls_token' in checkpoint.state_dict))

    def _fit_positions(self, checkpoint: Checkpoint, held: int) -> list[str]:
        """Resample the checkpoint's pos_embed, of which the first ``held`` belong to tokens in front of the grid."""
        pos_embed = checkpoint.state_dict.get('pos_embed')
        if self.pos_embed is None or pos_embed is None or pos_embed.dim() != 3 or pos_embed.shape[1] <= held:
            return []
        old_grid = grid_of(pos_embed.shape[1] - held, checkpoint.grid, self.arch.grid(), self.pos_grid)
        if held:
            pos_embed = pos_embed[:, held - self.num_cls:]
        checkpoint.state_dict['pos_embed'] = resize_pos_embed(pos_embed, old_grid, self.pos_grid)
        if old_grid == self.pos_grid:
            return []
        return [f'pos_embed resized from {old_grid[0]}x{old_grid[1]} to {self.pos_grid[0]}x{self.pos_grid[1]}']

    def get_layer_depth(self, param_name: str, prefix: str = '') -> tuple[int, int]:
        """The layer of a parameter for layer-wise decay: 0 the embedding, i + 1 block i and the merge before it.

        Returns:
            The parameter's layer, and the number of layers (the built blocks + 2).
        """
        layers, name = self.depth + 2, param_name[len(prefix):]
        if not param_name.startswith(prefix):
            return layers - 1, layers
        if name.startswith(('blocks.', 'merges.', 'tokens.')):
            place = name.split('.')[1]
            return int(place) + 1 if place.isdigit() else layers - 1, layers
        return layers - 1 if name.startswith(self.behind) else 0, layers

    def _frozen(self) -> tuple[list[nn.Module], list[nn.Parameter]]:
        if self.frozen_stages < 0:
            return [], []
        merges = [part for parts in (self.merges, self.tokens) for block, part in parts.items()
                  if block.isdigit() and int(block) < self.frozen_stages]
        norm = [self.norm] if self.norm is not None and self.frozen_stages >= self.depth else []
        modules = [*self._embedding(), *self.blocks[:self.frozen_stages], *merges, *norm]
        return modules, list(self.parameters(recurse=False))
