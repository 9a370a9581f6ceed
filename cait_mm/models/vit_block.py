"""The block of a plain ViT in all its forms, and its layers, from an architecture."""
from functools import partial

from timm.layers import DropPath, GluMlp, LayerScale, Mlp, RmsNorm, get_act_layer
from torch import Tensor, nn

from cait_mm.arch.base import BlockSpec
from cait_mm.arch.vit import ViTArch
from cait_mm.errors import UserError
from cait_mm.ops.layer_scale import fold_scale
from cait_mm.ops.offsets import table_rows
from cait_mm.ops.token_merge import Grid
from cait_mm.ops.vit_attention import NormLayer, ViTAttention
from cait_mm.tokens import Weigh


def norm_layer(arch: ViTArch) -> NormLayer:
    """Makes the architecture's norm over as many channels as it is called with."""
    return partial(RmsNorm if arch.norm_layer == 'rmsnorm' else nn.LayerNorm, eps=arch.norm_eps)


def attention(arch: ViTArch, widths: BlockSpec, grid: Grid) -> ViTAttention:
    """The attention of a block of ``widths``, whose positions are held for ``grid``.

    Raises:
        UserError: Queries and keys have an odd number of channels under rotary positions.
    """
    norm = norm_layer(arch)
    if arch.planes and widths.qk_dim % 2:
        raise UserError(f'qk_dim={widths.qk_dim}: under rotary positions channels come in pairs, give an even number.')
    return ViTAttention(arch.embed_dim, widths.num_heads, widths.qk_dim, widths.v_dim, widths.head_dim, arch.qkv_bias,
                        arch.proj_bias, norm if arch.qk_norm else None, norm if arch.scale_attn_norm else None,
                        arch.planes, table_rows(grid) if arch.rel_pos_bias else 0)


def ffn(arch: ViTArch, hidden: int) -> nn.Module:
    """The FFN of ``hidden`` channels; a gated one has its gate and its value in one layer, the gate first."""
    layers = dict(norm_layer=norm_layer(arch) if arch.scale_mlp_norm else None, bias=arch.proj_bias)
    if arch.ffn == 'swiglu':
        return GluMlp(arch.embed_dim, 2 * hidden, act_layer=nn.SiLU, gate_last=False, **layers)
    return Mlp(arch.embed_dim, hidden, act_layer=get_act_layer(arch.ffn), **layers)


class ViTBlock(nn.Module):
    """A transformer block: (B, N, C) -> (B, N, C).

    Its form is the architecture's ``block``: norms before attention and FFN, norms behind them, or one norm before
    both, whose results are added.

    Args:
        arch: The architecture.
        widths: Of this block.
        grid: The grid (H, W) that positions are held for.
        drop_path: Stochastic depth.
    """

    def __init__(self, arch: ViTArch, widths: BlockSpec, grid: Grid, drop_path: float = 0.) -> None:
        super().__init__()
        norm, dim, self.form = norm_layer(arch), arch.embed_dim, arch.block

        def scale() -> nn.Module:
            return nn.Identity() if arch.init_values is None else LayerScale(dim, arch.init_values)

        self.norm1, self.attn, self.ls1 = norm(dim), attention(arch, widths, grid), scale()
        self.mlp = ffn(arch, widths.ffn_dim)
        if self.form != 'parallel':
            self.norm2, self.ls2 = norm(dim), scale()
        self.drop_path = DropPath(drop_path) if drop_path else nn.Identity()

    def fold_layer_scale(self) -> None:
        """Multiply LayerScale into the layers before it, whose channels then show what they contribute; it is 1 after.
        """
        both = (self.attn.proj, self.mlp.fc2)
        fold_scale(self.ls1, *(both if self.form == 'parallel' else both[:1]))
        fold_scale(getattr(self, 'ls2', None), self.mlp.fc2)

    def forward(self, x: Tensor, bias: Tensor | None = None, rotation: Tensor | None = None) -> Tensor:
        """``bias`` and ``rotation`` are those of :class:`~cait_mm.ops.vit_attention.ViTAttention`."""
        if self.form == 'parallel':
            tokens = self.norm1(x)
            return x + self.drop_path(self.ls1(self.attn(tokens, bias, rotation) + self.mlp(tokens)))
        return self.feed(self._joined(x, self.attn(x if self.form == 'post' else self.norm1(x), bias, rotation)))

    def look(self, x: Tensor, bias: Tensor | None = None, rotation: Tensor | None = None,
             weigh: Weigh | None = None) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        """As :meth:`~cait_mm.models.block.Block.look`. Not for parallel blocks."""
        q, k, v = self.attn.project(x if self.form == 'post' else self.norm1(x), rotation)
        weights = None if weigh is None else weigh(self.attn.logits(q, k, bias))
        return self._joined(x, self.attn.attend(q, k, v, bias, weights)), q, k, weights

    def _joined(self, x: Tensor, branch: Tensor) -> Tensor:
        return x + self.drop_path(self.norm1(branch) if self.form == 'post' else self.ls1(branch))

    def feed(self, x: Tensor) -> Tensor:
        """Only the FFN. Not for parallel blocks."""
        branch = self.norm2(self.mlp(x)) if self.form == 'post' else self.ls2(self.mlp(self.norm2(x)))
        return x + self.drop_path(branch)
