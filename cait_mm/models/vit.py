"""Any plain ViT of timm with merged tokens and per-block widths that gives dense feature maps."""
from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

import torch
from timm.layers import AttentionPoolLatent, PatchEmbed, get_act_layer
from torch import Tensor, nn

from cait_mm.errors import UserError
from cait_mm.models.arguments import checked_flag
from cait_mm.models.checkpoint import Checkpoint
from cait_mm.models.deit import DeiT
from cait_mm.models.linear_layers import without_zero_biases
from cait_mm.models.positions import fit_offsets, resize_pos_embed, window_of_offsets
from cait_mm.models.vit_block import ViTBlock, norm_layer
from cait_mm.models.vit_names import plain_names
from cait_mm.models.vit_rope import RotaryPositions
from cait_mm.ops.offsets import grid_places, merged_offsets, offset_rows
from cait_mm.ops.rotary import axial_frequencies, merged_coordinates
from cait_mm.ops.token_merge import Grid
from cait_mm.tokens import Tokens


class Places(NamedTuple):
    """Where tokens stand for positions that act in attention; None where there are none of a kind."""
    coordinates: Tensor | None
    """Of rotary positions, (1, N, 2)."""
    offsets: Tensor | None
    """Rows and columns (1, N, 2), for tables of offsets."""
    rows: Tensor | None
    """Of the tables, for every pair of tokens (:func:`~cait_mm.ops.offsets.offset_rows`)."""

    def merged(self, grid: Grid, kind: str, size: Grid, prefix: int) -> 'Places':
        """The places behind a merge of ``kind`` on ``grid``, of ``size`` before all merges, ``prefix`` tokens in front.
        """
        coordinates, offsets, rows = self
        if coordinates is not None:
            coordinates = merged_coordinates(coordinates, grid, kind)
        if offsets is not None:
            offsets = merged_offsets(offsets, grid, kind)
            rows = offset_rows(offsets, size, prefix > 0)
        return Places(coordinates, offsets, rows)


class ViT(DeiT):
    """A plain ViT of any make: AugReg, DeiT-III, MAE, CLIP, SigLIP, DINOv2, DINOv3, EVA-02, BEiT and their relatives.

    CLS, a distillation token and registers pass by merges. Under rotary positions a merged token stands at the mean of
    its patches, and for tables of offsets at the first of them.

    Args:
        arch: timm's name of it, ``vit_small_patch14_dinov2``, or the fields of a
            :class:`~cait_mm.arch.vit.ViTArch` in a dict.
        pooling: Build the attention pooling and the norm behind the pooling that a classifier of this architecture
            has, for :meth:`pool`. Maps do not go through them.
        kwargs: As in :class:`~cait_mm.models.deit.DeiT`. ``with_cls_token=False`` leaves out CLS and the distillation
            token, which classifiers read; registers stay. ``final_norm`` does nothing where the architecture has its
            norm behind the pooling.

    Raises:
        UserError: The description is impossible.
    """

    family: ClassVar[str] = 'vit'
    behind: ClassVar[tuple[str, ...]] = ('norm.', 'restores.', 'attn_pool.', 'fc_norm.')
    classifier_options: ClassVar[Mapping[str, Any]] = {**DeiT.classifier_options, 'pooling': True}

    def __init__(self, arch: str | Mapping[str, Any] = 'vit_small_patch14_dinov2', *args: Any, pooling: bool = False,
                 **kwargs: Any) -> None:
        super().__init__(arch, *args, **kwargs)
        mapped, norm = self.arch.global_pool == 'map', norm_layer(self.arch)
        self.pooling = checked_flag('pooling', pooling)
        self.attn_pool = self._attention_pool() if self.pooling and mapped else None
        self.fc_norm = norm(self.embed_dim) if self.pooling and self.arch.fc_norm else None

    def _attention_pool(self) -> AttentionPoolLatent:
        arch, act = self.arch, 'silu' if self.arch.ffn == 'swiglu' else self.arch.ffn
        return AttentionPoolLatent(arch.embed_dim, num_heads=arch.pool_heads, mlp_ratio=arch.pool_ratio,
                                   norm_layer=norm_layer(arch), act_layer=get_act_layer(act))

    def _stem(self) -> nn.Module:
        """Image (B, in, H, W) -> patches (B, h, w, C)."""
        arch = self.arch
        return PatchEmbed(None, arch.patch_size, arch.in_channels, arch.embed_dim, output_fmt='NHWC',
                          bias=not arch.pre_norm, strict_img_size=False, dynamic_img_pad=True,
                          norm_layer=norm_layer(arch) if arch.embed_norm else None)

    def _build_tokens(self, with_cls_token: bool) -> None:
        arch, dim = self.arch, self.arch.embed_dim

        def tokens(count: int) -> nn.Parameter | None:
            return nn.Parameter(torch.zeros(1, count, dim)) if count else None

        self.cls_token = tokens(int(arch.class_token and with_cls_token))
        self.dist_token = tokens(int(arch.dist_token and with_cls_token))
        self.reg_token = tokens(arch.reg_tokens)
        patches = self.pos_grid[0] * self.pos_grid[1]
        self.pos_embed = tokens(patches + (0 if arch.no_embed_class else self.num_cls)) if arch.pos_embed else None
        self.norm_pre = norm_layer(arch)(dim) if arch.pre_norm else nn.Identity()
        self.rope = RotaryPositions(arch.rope, arch.head_dim, arch.num_heads, self.depth) if arch.rope else None

    def _final_norm(self) -> nn.Module | None:
        return norm_layer(self.arch)(self.embed_dim) if self.arch.final_norm else None

    def _embedding(self) -> list[nn.Module]:
        return [self.patch_embed, self.norm_pre, *([self.rope] if self.rope else [])]

    def _block(self, index: int, residual_scale: float = 1.) -> ViTBlock:
        return ViTBlock(self.arch, self.spec.blocks[index], self.pos_grid, self.drop_path_rates[index])

    @property
    def grid(self) -> Grid | None:
        return self.pos_grid if self.arch.pos_embed or self.arch.rel_pos_bias else None

    @property
    def num_cls(self) -> int:
        """Tokens in front of the grid: CLS, the distillation token and registers."""
        return sum(token.shape[1] for token in self._tokens())

    def _tokens(self) -> list[Tensor]:
        """The tokens in front of the grid, in order."""
        return [token for token in (self.cls_token, self.dist_token, self.reg_token) if token is not None]

    def pool(self, tokens: Tensor) -> Tensor:
        arch = self.arch
        if arch.global_pool == 'map':
            if self.attn_pool is None:
                raise UserError(f'{arch.name} pools by attention: build its backbone with pooling=True.')
            pooled = self.attn_pool(tokens if arch.pool_include_prefix else tokens[:, self.num_cls:])
        else:
            pooled = tokens[:, 0] if arch.global_pool == 'token' else tokens[:, self.num_cls:].mean(1)
        return pooled if self.fc_norm is None else self.fc_norm(pooled)

    def _embed(self, x: Tensor) -> tuple[Tensor, Grid]:
        maps = self.patch_embed(x)
        grid, x = tuple(maps.shape[1:3]), maps.flatten(1, 2)
        positions = 0. if self.pos_embed is None else resize_pos_embed(self.pos_embed, self.pos_grid, grid)
        if self.arch.no_embed_class:
            x, positions = x + positions, 0.
        x = torch.cat([*(token.expand(x.shape[0], -1, -1) for token in self._tokens()), x], dim=1) + positions
        return self.norm_pre(x), grid

    def _places(self, grid: Grid, x: Tensor) -> Places:
        offsets = grid_places(grid, x.device) if self.arch.rel_pos_bias else None
        return Places(None if self.rope is None else self.rope.coordinates(grid).to(x.device), offsets,
                      None if offsets is None else offset_rows(offsets, grid, self.num_cls > 0))

    def _seen(self, index: int, block: nn.Module, tokens: Tokens) -> tuple[Any, ...]:
        places, bias = tokens.places, tokens.bias
        if places.rows is not None:
            offsets = block.attn.offset_bias(places.rows, self.pos_grid, tokens.size)
            bias = offsets if bias is None else offsets + bias
        rotation = None if self.rope is None else self.rope(places.coordinates, index, block.attn.planes)
        return bias, rotation

    def unused(self) -> list[str]:
        left = [name for name, token in (('cls_token', self.cls_token), ('dist_token', self.dist_token))
                if token is None]
        return [*super().unused(), *left, *([] if self.pooling else ['attn_pool.', 'fc_norm.'])]

    def fit(self, checkpoint: Checkpoint) -> list[str]:
        """Bring timm's names to this package's, and resample the checkpoint's pos_embed to this backbone's grid."""
        arch = self.arch
        state, notes = without_zero_biases(plain_names(checkpoint.state_dict, arch), self.state_dict())
        checkpoint.state_dict = state
        self._check_periods(checkpoint.path, state.pop('rope.periods', None))
        if 'rope.freqs' in state and state['rope.freqs'].dim() == 4:
            state['rope.freqs'] = state['rope.freqs'][:, :self.depth]
        for index, block in enumerate(self.blocks if self.rope else ()):
            if block.attn.qk_dim == arch.head_dim:  # only files of this package say which planes there are
                state.setdefault(f'{arch.block_path(index)}.attn.planes', torch.arange(arch.head_dim // 2).repeat(
                    arch.num_heads, 1))
        self._fit_offsets(checkpoint)
        held = 0 if arch.no_embed_class else arch.prefix_tokens('cls_token' in state)
        return notes + self._fit_positions(checkpoint, held)

    def _check_periods(self, path: str, periods: Tensor | None) -> None:
        """Raise if the periods (head_dim / 4) of rotary positions in a file of DINOv3 are not this architecture's."""
        if periods is None:
            return
        rope, arch = self.arch.rope, self.arch
        own = None if rope is None else 1 / axial_frequencies(arch.head_dim, rope.temperature)[0, :arch.head_dim // 4]
        if own is None or periods.shape != own.shape or not torch.allclose(periods.float(), own, rtol=0.01):  # bf16
            raise UserError(f'checkpoint {path} has rotary positions of other periods than {arch.name}: name the '
                            'architecture that it was trained with.')

    def _fit_offsets(self, checkpoint: Checkpoint) -> None:
        """Resample a checkpoint's tables of offsets to this backbone's grid."""
        for key, table in list(checkpoint.state_dict.items()):
            if self.arch.rel_pos_bias and key.endswith('.relative_position_bias_table') and table.dim() == 2:
                window = window_of_offsets(len(table), checkpoint.grid, self.arch.grid(), self.pos_grid)
                if window is not None:  # strict loading reports others
                    checkpoint.state_dict[key] = fit_offsets(table, window, self.pos_grid)
