"""DeiT: one width and one grid from the first block to the last, CLS in front."""
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from cait_mm.arch.base import Arch
from cait_mm.arch.checks import check_positive_int, check_positive_number
from cait_mm.arch.cost import Cost, layer_norm, linear
from cait_mm.ops.token_merge import Grid


@dataclass(frozen=True)
class DeiTArch(Arch):
    """A dense DeiT, or another plain ViT of the same structure."""

    family: ClassVar[str] = 'deit'
    required: ClassVar[tuple[str, ...]] = ('embed_dim', 'depth', 'num_heads')

    name: str
    embed_dim: int
    depth: int
    num_heads: int
    mlp_ratio: float = 4.0
    patch_size: int = 16
    img_size: tuple[int, int] = (224, 224)
    in_channels: int = 3
    norm_eps: float = 1e-6

    def __post_init__(self) -> None:
        check_positive_number('arch norm_eps', self.norm_eps, 1, 'must be a number above 0 and up to 1')
        check_positive_int('arch num_heads', self.num_heads)
        self._check_common()

    def dim(self, block: int) -> int:
        return self.embed_dim

    def heads(self, block: int) -> int:
        return self.num_heads

    def block_path(self, block: int) -> str:
        return f'blocks.{block}'

    @staticmethod
    def sizes(state_dict: Mapping[str, Any]) -> dict[str, Any]:
        blocks = [int(number) for number in re.findall(r'^blocks\.(\d+)\.', '\n'.join(state_dict), re.MULTILINE)]
        if not blocks or 'patch_embed.proj.weight' not in state_dict:
            return {}
        return {'embed_dim': state_dict['patch_embed.proj.weight'].shape[0], 'depth': max(blocks) + 1}

    def stem_cost(self, grid: Grid, prefix: int) -> Cost:
        patch = self.in_channels * self.patch_size**2
        return linear(grid[0] * grid[1], patch, self.embed_dim) + self._embedding_cost(prefix)

    def _embedding_cost(self, prefix: int) -> Cost:
        height, width = self.grid()
        return Cost(0, (height * width + 2 * prefix) * self.embed_dim)

    def head_cost(self, grid: Grid, num_classes: int) -> Cost:
        return layer_norm(grid[0] * grid[1] + 1, self.embed_dim) + linear(1, self.embed_dim, num_classes)


DEIT = {
    'deit_tiny': DeiTArch('deit_tiny', 192, 12, 3),
    'deit_small': DeiTArch('deit_small', 384, 12, 6),
    'deit_base': DeiTArch('deit_base', 768, 12, 12),
}
