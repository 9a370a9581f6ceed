"""ViT: every plain ViT of timm's ``vision_transformer``, ``deit``, ``eva`` and ``beit`` modules, as data."""
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, ClassVar

from cait_mm.arch.base import BlockSpec, as_image_size
from cait_mm.arch.checks import check_keys, check_positive_int, check_positive_number
from cait_mm.arch.cost import Cost, attention_products, layer_norm, linear, rms_norm
from cait_mm.arch.deit import DeiTArch
from cait_mm.errors import UserError, shown
from cait_mm.ops.offsets import table_rows
from cait_mm.ops.token_merge import Grid

CHOICES = {
    'block': ('pre', 'post', 'parallel'),
    'ffn': ('gelu', 'gelu_tanh', 'quick_gelu', 'swiglu'),
    'norm_layer': ('layernorm', 'rmsnorm'),
    'global_pool': ('token', 'avg', 'map'),
}
"""The values of fields that name one of several forms."""


@dataclass(frozen=True)
class Rope:
    """Rotary positions, with timm's names.

    ``cat`` counts patches from ``grid_offset`` on, scaled onto the grid ``ref_feat_shape`` where one is given (EVA-02);
    ``mixed`` counts them too and learns its frequencies for every block and head; ``dinov3`` runs from -1 to 1.
    """

    type: str = 'cat'
    temperature: float = 10000.
    grid_offset: float = 0.
    grid_indexing: str = 'ij'
    rotate_half: bool = False
    ref_feat_shape: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        for name, known in (('type', ('cat', 'mixed', 'dinov3')), ('grid_indexing', ('ij', 'xy'))):
            _check_choice(f'rope {name}', getattr(self, name), known)
        check_positive_number('arch rope temperature', self.temperature, 1e9, 'must be a number above 0')
        if isinstance(self.grid_offset, bool) or not isinstance(self.grid_offset, (int, float)) or not abs(
                self.grid_offset) < 1e6:
            raise UserError(f'arch rope grid_offset={shown(self.grid_offset)} must be a number.')
        _check_flag('rope rotate_half', self.rotate_half)
        if self.ref_feat_shape is not None:
            object.__setattr__(self, 'ref_feat_shape', as_image_size('arch rope ref_feat_shape', self.ref_feat_shape))


@dataclass(frozen=True)
class ViTArch(DeiTArch):
    """A dense plain ViT; DeiT is the one of the defaults. Names are timm's where timm has a name.

    Tokens: CLS (``class_token``), the distillation token, then registers (``reg_tokens``) stand in front of the
    patches. Positions are learned (``pos_embed``), with entries for these tokens or without (``no_embed_class``),
    rotary (``rope``), a bias of every block's attention for every offset between patches (``rel_pos_bias``: BEiT), or
    several of these.

    A block is ``pre`` (norms before attention and FFN), ``post`` (norms behind them) or ``parallel`` (one norm before
    both, whose results are added: ViT-22B). ``init_values`` is where LayerScale starts, None for none. ``ffn`` is the
    activation of a plain FFN, or ``swiglu``: a gate with SiLU times a value, packed in one layer.

    The head reads CLS, the mean of the patches, or attention over them (``map``), with norms before
    (``final_norm``) or behind the pooling (``fc_norm``).
    """

    family: ClassVar[str] = 'vit'

    attn_head_dim: int | None = None
    """Width of a head, where it is not ``embed_dim / num_heads``."""
    class_token: bool = True
    dist_token: bool = False
    reg_tokens: int = 0
    pos_embed: bool = True
    no_embed_class: bool = False
    rope: Rope | None = None
    rel_pos_bias: bool = False
    embed_norm: bool = False
    """Norm inside the patch embedding."""
    pre_norm: bool = False
    """Norm of all tokens before the blocks; the patch embedding has no bias then (CLIP)."""
    block: str = 'pre'
    qkv_bias: bool = True
    proj_bias: bool = True
    """Of the output projection and of both layers of the FFN."""
    qk_norm: bool = False
    scale_attn_norm: bool = False
    """Norm before the output projection."""
    scale_mlp_norm: bool = False
    """Norm before the second layer of the FFN."""
    init_values: float | None = None
    ffn: str = 'gelu'
    norm_layer: str = 'layernorm'
    final_norm: bool = True
    fc_norm: bool = False
    global_pool: str = 'token'
    pool_include_prefix: bool = False
    """Whether attention pooling reads the tokens in front of the patches too."""
    attn_pool_num_heads: int | None = None
    attn_pool_mlp_ratio: float | None = None
    """Of attention pooling; None is ``mlp_ratio``."""

    def __post_init__(self) -> None:
        for name, known in CHOICES.items():
            _check_choice(name, getattr(self, name), known)
        for item in fields(self):
            if isinstance(item.default, bool):
                _check_flag(item.name, getattr(self, item.name))
        for name in ('attn_head_dim', 'attn_pool_num_heads'):
            if getattr(self, name) is not None:
                check_positive_int(f'arch {name}', getattr(self, name))
        if self.reg_tokens != 0 or isinstance(self.reg_tokens, bool):
            check_positive_int('arch reg_tokens', self.reg_tokens, 1024)
        for name in ('init_values', 'attn_pool_mlp_ratio'):
            if getattr(self, name) is not None:
                check_positive_number(f'arch {name}', getattr(self, name), 1e6, 'must be a number above 0')
        if isinstance(self.rope, Mapping):
            check_keys('arch rope', self.rope, [item.name for item in fields(Rope)])
            object.__setattr__(self, 'rope', Rope(**self.rope))
        if self.rope is not None and not isinstance(self.rope, Rope):
            raise UserError(f'arch rope={shown(self.rope)} is no mapping of {", ".join(Rope.__annotations__)}.')
        super().__post_init__()
        self._check_together()

    def _check_together(self) -> None:
        """Raise where fields that are possible one by one contradict each other."""
        if self.rope is not None and self.head_dim % 4:
            raise UserError(f'arch rope needs heads of a multiple of 4 channels, and these have {self.head_dim}.')
        if (self.dist_token or self.global_pool == 'token') and not self.class_token:
            raise UserError('arch class_token=False: global_pool=\'token\' and the distillation token need it.')
        if self.rel_pos_bias and (self.dist_token or self.reg_tokens or not self.class_token):
            raise UserError('arch rel_pos_bias: its tables have entries for CLS and patches, not for other tokens.')
        if self.global_pool == 'map' and self.embed_dim % self.pool_heads:
            raise UserError(f'arch embed_dim={self.embed_dim} is not divisible by the {self.pool_heads} heads of '
                            'attention pooling.')
        if self.block == 'post' and self.init_values is not None:
            raise UserError('arch init_values: blocks with norms behind their layers have no LayerScale.')

    @property
    def head_dim(self) -> int:
        """Width of a head."""
        return self.attn_head_dim or self.embed_dim // self.num_heads

    @property
    def planes(self) -> str | None:
        return None if self.rope is None else 'halves' if self.rope.rotate_half else 'pairs'

    @property
    def has_cls(self) -> bool:
        return self.class_token

    @property
    def scatters(self) -> bool:
        return self.rope is None and not self.rel_pos_bias and self.block != 'parallel'

    @property
    def whole(self) -> tuple[str, ...]:
        kept = (('q', 'k') * self.qk_norm, ('v', ) * self.scale_attn_norm, ('ffn', ) * self.scale_mlp_norm)
        return sum(kept, ())

    @property
    def pool_heads(self) -> int:
        """Heads of attention pooling."""
        return self.attn_pool_num_heads or self.num_heads

    @property
    def pool_ratio(self) -> float:
        """Of the FFN behind attention pooling."""
        return self.attn_pool_mlp_ratio or self.mlp_ratio

    def dense_block(self, block: int) -> BlockSpec:
        hidden = int(self.embed_dim * self.mlp_ratio)
        return BlockSpec(self.num_heads, self.head_dim, self.head_dim, hidden, self.head_dim)

    def prefix_tokens(self, with_cls_token: bool = True) -> int:
        return self.reg_tokens + (int(self.class_token) + int(self.dist_token) if with_cls_token else 0)

    def stem_cost(self, grid: Grid, prefix: int) -> Cost:
        patch, dim, tokens = self.in_channels * self.patch_size**2, self.embed_dim, grid[0] * grid[1]
        cost = linear(tokens, patch, dim, bias=not self.pre_norm) + Cost(0, prefix * dim)
        if self.pos_embed:
            height, width = self.grid()
            cost += Cost(0, (height * width + (0 if self.no_embed_class else prefix)) * dim)
        if self.embed_norm:
            cost += self._norm(tokens, dim)
        return cost + self._norm(tokens + prefix, dim) if self.pre_norm else cost

    def block_cost(self, index: int, block: BlockSpec, tokens: int, windows: tuple[int, int], behind: int) -> Cost:
        dim, heads, values = self.embed_dim, block.num_heads, block.num_heads * block.v_dim
        norms = 1 if self.block == 'parallel' else 2
        cost = linear(tokens, dim, heads * (2 * block.qk_dim + block.v_dim), self.qkv_bias)
        cost += attention_products(block, windows) + linear(tokens, values, dim, self.proj_bias)
        cost += linear(behind, dim, block.ffn_dim * (2 if self.ffn == 'swiglu' else 1), self.proj_bias)
        cost += linear(behind, block.ffn_dim, dim, self.proj_bias)
        for width in [dim, *[values] * self.scale_attn_norm]:
            cost += self._norm(tokens, width)
        for width in [*[dim] * (norms - 1), *[block.ffn_dim] * self.scale_mlp_norm]:
            cost += self._norm(behind, width)
        for _ in range(2 * self.qk_norm):
            cost += self._norm(tokens * heads, block.qk_dim)
        return cost if self.init_values is None else cost + Cost(0, norms * dim)

    def bias_params(self, block: int) -> int:
        learned = self.rope is not None and self.rope.type == 'mixed'
        params = 2 * self.num_heads * (self.head_dim // 2) if learned else 0
        return params + (table_rows(self.grid()) * self.num_heads if self.rel_pos_bias else 0)

    def head_cost(self, grid: Grid, num_classes: int) -> Cost:
        patches, prefix, dim = grid[0] * grid[1], self.prefix_tokens(), self.embed_dim
        cost = Cost(0, 0)
        for _ in range(1 + self.dist_token):
            cost += linear(1, dim, num_classes)
        if self.final_norm:
            cost += self._norm(patches + prefix, dim)
        if self.fc_norm:
            cost += self._norm(1, dim)
        if self.global_pool == 'map':
            cost += self._pool_cost(patches + prefix * self.pool_include_prefix)
        return cost

    def _pool_cost(self, tokens: int) -> Cost:
        """Attention pooling over ``tokens`` tokens by one learned query, and the FFN behind it."""
        dim, hidden = self.embed_dim, int(self.embed_dim * self.pool_ratio)
        attention = linear(1, dim, dim) + linear(tokens, dim, 2 * dim) + Cost(2 * tokens * dim, dim)
        return attention + linear(1, dim, dim) + self._norm(1, dim) + linear(1, dim, hidden) + linear(1, hidden, dim)

    def _norm(self, tokens: int, dim: int) -> Cost:
        return rms_norm(dim) if self.norm_layer == 'rmsnorm' else layer_norm(tokens, dim)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types of the fields that are not at their default; :func:`~cait_mm.arch.get_arch` reads them."""
        return {'family': self.family, **_changed(self)}


def _changed(item: Any) -> dict[str, Any]:
    """The fields of a dataclass that are not at their default, in plain JSON types."""
    changed = {field.name: getattr(item, field.name) for field in fields(item)
               if getattr(item, field.name) != field.default}
    return {name: _changed(value) if is_dataclass(value) else list(value) if isinstance(value, tuple) else value
            for name, value in changed.items()}


def _check_choice(name: str, value: Any, known: tuple[str, ...]) -> None:
    if not isinstance(value, str) or value not in known:
        raise UserError(f'arch {name}={shown(value)}: use one of {", ".join(known)}.')


def _check_flag(name: str, value: Any) -> None:
    if not isinstance(value, bool):
        raise UserError(f'arch {name}={shown(value)}: give True or False.')
