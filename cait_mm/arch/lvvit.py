"""LV-ViT (Jiang et al., NeurIPS 2021): DeiT with a convolutional stem, scaled residuals and a head over all tokens."""
from dataclasses import dataclass
from typing import ClassVar

from cait_mm.arch.checks import check_positive_int, check_positive_number
from cait_mm.arch.cost import Cost, batch_norm, linear
from cait_mm.arch.deit import DeiTArch
from cait_mm.errors import UserError
from cait_mm.ops.token_merge import Grid


@dataclass(frozen=True)
class LVViTArch(DeiTArch):
    """A dense LV-ViT: residual branches are divided by ``residual_scale``, the stem is ``stem_dim`` wide."""

    family: ClassVar[str] = 'lvvit'
    qkv_bias: ClassVar[bool] = False
    aux_head: ClassVar[bool] = True

    mlp_ratio: float = 3.0
    norm_eps: float = 1e-5
    residual_scale: float = 2.0
    stem_dim: int = 64

    def __post_init__(self) -> None:
        check_positive_int('arch stem_dim', self.stem_dim)
        super().__post_init__()
        if self.patch_size % 2:
            raise UserError(f'arch patch_size={self.patch_size}: LV-ViT\'s stem halves the image first, so it is even.')
        check_positive_number('arch residual_scale', self.residual_scale, 1e6,
                              'divides the residual branches and must be a positive number')

    def stem_cost(self, grid: Grid, prefix: int) -> Cost:
        side, dim = self.patch_size // 2, self.stem_dim
        pixels = grid[0] * grid[1] * side**2
        cost = self._embedding_cost(prefix) + linear(grid[0] * grid[1], side**2 * dim, self.embed_dim)
        for inputs in (self.in_channels * 7**2, dim * 3**2, dim * 3**2):
            cost += linear(pixels, inputs, dim, bias=False) + batch_norm(pixels, dim)
        return cost

    def head_cost(self, grid: Grid, num_classes: int) -> Cost:
        return super().head_cost(grid, num_classes) + linear(grid[0] * grid[1], self.embed_dim, num_classes)


LVVIT = {
    'lvvit_s': LVViTArch('lvvit_s', 384, 16, 6),
    'lvvit_m': LVViTArch('lvvit_m', 512, 20, 8),
}
