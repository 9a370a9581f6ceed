"""The effect of each optimisation in docs/data/means.csv: the same work without and with it, interleaved, random
weights.

Means for whole models are modes of benchmarks/speed.py.
"""
import argparse
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from shared import Row, View, finish, machine, parser_of, show
from timm.layers import Mlp
from torch import Tensor, nn

from cait_mm.analysis.modes import Mode
from cait_mm.analysis.speed import conditions, time_interleaved
from cait_mm.config.cli import positive_int, run
from cait_mm.necks import TokenPyramid
from cait_mm.ops.attention import Attention
from cait_mm.ops.token_merge import TokenMerge, restore
from cait_mm.utils.files import kept

Calls = tuple[Callable[[], Any], Callable[[], Any]]
DIM, HEADS, GRID = 384, 6, (32, 32)
"""DeiT-Small at 512x512."""
VIEW: View = {'means': '{means}', 'batch': '{batch}', 'without': '{without_ms:.2f} ms', 'with': '{with_ms:.2f} ms',
              'faster': '{faster:.2f}x', 'quartiles apart': '{iqr_percent:.0f} %'}


class Bench:
    """Builds the two calls of every means in one mode, for a batch of ``batch`` images."""

    def __init__(self, mode: Mode, batch: int) -> None:
        self._mode = mode
        self._tokens = self._random(batch, GRID[0] * GRID[1], DIM)
        self._once, self._twice = self._random(batch, DIM, 32, 16), self._random(batch, DIM, 16, 16)

    def _random(self, *shape: int) -> Tensor:
        return torch.randn(*shape, device=self._mode.device)

    def _ready(self, module: nn.Module) -> nn.Module:
        return module.eval().to(self._mode.device)

    def _both(self, x: Tensor, *modules: nn.Module) -> Calls:
        without, using = (partial(self._ready(module), x) for module in modules)
        return without, using

    def one_product_for_q_k_v(self) -> Calls:
        apart = nn.ModuleList(nn.Linear(DIM, HEADS * 48) for _ in range(3))
        _, whole = self._both(self._tokens, apart, nn.Linear(DIM, 3 * HEADS * 48))
        return lambda: [part(self._tokens) for part in apart], whole

    def heads_of_one_multiple_of_8(self) -> Calls:
        return self._both(self._tokens, *(Attention(DIM, HEADS, *widths, 64) for widths in ((45, 47), (48, 48))))

    def ffns_of_a_multiple_of_8(self) -> Calls:
        return self._both(self._tokens, *(Mlp(DIM, width) for width in (1260, 1264)))

    def horizontal_merge_as_a_view(self) -> Calls:
        """Concatenate even and odd tokens, or take pairs as they lie in memory."""
        x, merge = self._tokens, self._ready(TokenMerge(DIM, 'horizontal'))
        return lambda: merge.fuse(torch.cat([x[:, ::2], x[:, 1::2]], dim=-1)), lambda: merge(x, GRID)

    def vertical_merge_without_a_copy(self) -> Calls:
        """Group two rows and multiply once, or multiply each where it lies."""
        x, merge = self._tokens, self._ready(TokenMerge(DIM, 'vertical'))
        upper, lower = (part.T.contiguous() for part in merge.fuse.weight.detach().split(DIM, dim=1))

        def products() -> Tensor:
            rows = x.view(-1, 2, GRID[1], DIM)
            first = torch.matmul(rows[:, 0], upper)
            return torch.baddbmm(first, rows[:, 1], lower.expand(len(rows), -1, -1)) + merge.fuse.bias

        return lambda: merge(x, GRID), products

    def cls_apart(self) -> Calls:
        """Both merges around a CLS token, or on a grid of their own: more than keeping CLS apart could save."""
        merges = [self._ready(TokenMerge(DIM, kind)) for kind in ('horizontal', 'vertical')]
        tokens = torch.cat([self._random(len(self._tokens), 1, DIM), self._tokens], dim=1)

        def merged(x: Tensor, cls: int) -> Tensor:
            side = GRID
            for merge in merges:
                grid, side = merge(x[:, cls:], side)
                x = torch.cat([x[:, :1], grid], dim=1) if cls else grid
            return x[:, cls:]

        return partial(merged, tokens, 1), partial(merged, self._tokens, 0)

    def restoring_by_repeating(self) -> Calls:
        maps = [self._once, self._twice]
        return lambda: [F.interpolate(item, GRID) for item in maps], lambda: [restore(item, GRID) for item in maps]

    def lazy_restoring(self) -> Calls:
        """Of a map merged once and one merged twice: upsample, then x2 and x0.5, or x2 and nothing, then upsample."""
        once, twice = self._once, self._twice
        double = self._ready(nn.ConvTranspose2d(DIM, DIM, 2, stride=2))

        def lazily() -> list[Tensor]:
            return [double(once).unflatten(3, (16, 2)).repeat_interleave(2, dim=3).flatten(3), twice]

        return lambda: [double(restore(once, GRID)), F.max_pool2d(restore(twice, GRID), 2)], lazily

    def pyramid_in_channels_last(self) -> Calls:
        """As it is, or its convolutions in channels-last with outputs laid out as heads expect."""
        pyramid = self._ready(TokenPyramid(DIM, norm_cfg=dict(type='BN')))
        maps = [self._random(len(self._tokens), DIM, *GRID) for _ in range(4)]

        def last() -> list[Tensor]:
            return [op(item.contiguous(memory_format=torch.channels_last)).contiguous()
                    for op, item in zip(pyramid.ops, maps)]

        return partial(pyramid, maps), last


MEANS = [name for name in vars(Bench) if not name.startswith('_')]


def measure(name: str, batch: int, args: argparse.Namespace) -> Row:
    """The milliseconds without a means and with it."""
    mode = Mode(args.device)
    calls: dict[str, Callable[[], Any]] = dict(zip(('without', 'with'), getattr(Bench(mode, batch), name)()))
    with mode.running():
        timings = time_interleaved(calls, args.rounds, device=mode.device)
    without, using = (1000 * timings[key].median for key in ('without', 'with'))
    return {'means': name.replace('_', ' '), 'batch': batch, 'without_ms': without, 'with_ms': using,
            'faster': without / using, 'iqr_percent': 100 * max(timing.spread for timing in timings.values()),
            'rounds': args.rounds, 'machine': machine(conditions(args.device))}


def main() -> None:
    parser = parser_of(__doc__, 'means')
    parser.add_argument('--means', nargs='+', choices=MEANS, default=MEANS)
    parser.add_argument('--batches', nargs='+', type=positive_int, default=[1, 4])
    parser.add_argument('--device', choices=('cpu', 'cuda'), default='cuda' if torch.cuda.is_available() else 'cpu')
    parser.add_argument('--rounds', type=positive_int, default=30)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    rows: list[Row] = []
    for name in args.means:
        for batch in args.batches:
            rows.append(kept(args.out / f'{name}_{batch}_{args.device}.json', partial(measure, name, batch, args)))
            print(show(VIEW, rows[-1:]).splitlines()[-1], file=sys.stderr, flush=True)
    finish(args, 'means', ('means', 'batch', 'machine'), (VIEW, rows))


if __name__ == '__main__':
    run(main)
