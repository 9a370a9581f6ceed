"""What each means of docs/performance.md is worth: the same work without it and with it, interleaved.

Random weights. Finished measurements are kept in --out.
"""
import argparse
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from timm.layers import Mlp
from torch import Tensor, nn

from cait_mm.analysis.modes import Mode
from cait_mm.analysis.speed import conditions, time_interleaved
from cait_mm.backbones import CAITDeiT
from cait_mm.config.cli import add_json_option, positive_int, report, run
from cait_mm.deploy import deployed
from cait_mm.necks import TokenPyramid
from cait_mm.ops.attention import Attention
from cait_mm.ops.token_merge import TokenMerge, restore
from cait_mm.tasks import Overall, load_model
from cait_mm.utils.files import kept
from cait_mm.utils.tables import table

Calls = tuple[Callable[[], Any], Callable[[], Any]]
DIM, HEADS, GRID = 384, 6, (32, 32)
"""DeiT-Small at 512x512."""
MERGES = ((4, 'horizontal'), (7, 'vertical'))


class Bench:
    """Builds the two calls of every means in one mode, for a batch of ``batch`` images."""

    def __init__(self, mode: Mode, batch: int) -> None:
        self.mode, self.batch = mode, batch

    def _tokens(self) -> Tensor:
        return torch.randn(self.batch, GRID[0] * GRID[1], DIM, device=self.mode.device)

    def _images(self) -> Tensor:
        return self.mode.batch(self.batch, 512, 512)

    def _backbone(self, **keywords: Any) -> nn.Module:
        return self._ready(CAITDeiT('deit_small', MERGES, img_size=512, **keywords))

    def _maps(self, *sides: tuple[int, int]) -> list[Tensor]:
        return [torch.randn(self.batch, DIM, *side, device=self.mode.device) for side in sides]

    def _ready(self, module: nn.Module) -> nn.Module:
        return module.eval().to(self.mode.device)

    def one_product_for_q_k_v(self) -> Calls:
        x = self._tokens()
        apart = [self._ready(nn.Linear(DIM, HEADS * 48)) for _ in range(3)]
        return lambda: [part(x) for part in apart], partial(self._ready(nn.Linear(DIM, 3 * HEADS * 48)), x)

    def heads_of_one_multiple_of_8(self) -> Calls:
        x = self._tokens()
        odd, even = (self._ready(Attention(DIM, HEADS, *widths, 64)) for widths in ((45, 47), (48, 48)))
        return partial(odd, x), partial(even, x)

    def ffns_of_a_multiple_of_8(self) -> Calls:
        x = self._tokens()
        odd, even = (self._ready(Mlp(DIM, width)) for width in (1260, 1264))
        return partial(odd, x), partial(even, x)

    def horizontal_merge_as_a_view(self) -> Calls:
        """Concatenate even and odd tokens, or take pairs as they lie in memory."""
        x, merge = self._tokens(), self._ready(TokenMerge(DIM, 'horizontal'))
        return lambda: merge.fuse(torch.cat([x[:, ::2], x[:, 1::2]], dim=-1)), lambda: merge(x, GRID)

    def vertical_merge_without_a_copy(self) -> Calls:
        """Group two rows and multiply once, or multiply each where it lies."""
        x, merge = self._tokens(), self._ready(TokenMerge(DIM, 'vertical'))
        upper, lower = (part.T.contiguous() for part in merge.fuse.weight.detach().split(DIM, dim=1))

        def products() -> Tensor:
            rows = x.view(-1, 2, GRID[1], DIM)
            first = torch.matmul(rows[:, 0], upper)
            return torch.baddbmm(first, rows[:, 1], lower.expand(len(rows), -1, -1)) + merge.fuse.bias

        return lambda: merge(x, GRID), products

    def cls_apart(self) -> Calls:
        """Both merges around a CLS token, or on a grid of their own: more than keeping CLS apart could save."""
        merges = [self._ready(TokenMerge(DIM, kind)) for _, kind in MERGES]
        grid, cls = self._tokens(), torch.randn(self.batch, 1, DIM, device=self.mode.device)
        tokens = torch.cat([cls, grid], dim=1)

        def around() -> Tensor:
            x, side = tokens, GRID
            for merge in merges:
                merged, side = merge(x[:, 1:], side)
                x = torch.cat([x[:, :1], merged], dim=1)
            return x[:, 1:]

        def apart() -> Tensor:
            x, side = grid, GRID
            for merge in merges:
                x, side = merge(x, side)
            return x

        return around, apart

    def no_cls_token_in_a_dense_model(self) -> Calls:
        image = self._images()
        with_cls, without = (self._backbone(with_cls_token=token) for token in (True, False))
        return partial(with_cls, image), partial(without, image)

    def restoring_by_repeating(self) -> Calls:
        maps = self._maps((32, 16), (16, 16))
        return lambda: [F.interpolate(item, GRID) for item in maps], lambda: [restore(item, GRID) for item in maps]

    def lazy_restoring(self) -> Calls:
        """Of a map merged once and one merged twice: upsample, then x2 and x0.5, or x2 and nothing, then upsample."""
        once, twice = self._maps((32, 16), (16, 16))
        double = self._ready(nn.ConvTranspose2d(DIM, DIM, 2, stride=2))

        def lazily() -> list[Tensor]:
            pairs = double(once).unflatten(3, (16, 2)).repeat_interleave(2, dim=3).flatten(3)
            return [pairs, twice]

        return lambda: [double(restore(once, GRID)), F.max_pool2d(restore(twice, GRID), 2)], lazily

    def pyramid_in_channels_last(self) -> Calls:
        """As it is, or its convolutions in channels-last with outputs laid out as heads expect."""
        pyramid, maps = self._ready(TokenPyramid(DIM, norm_cfg=dict(type='BN'))), self._maps(*[GRID] * 4)

        def last() -> list[Tensor]:
            return [op(item.contiguous(memory_format=torch.channels_last)).contiguous()
                    for op, item in zip(pyramid.ops, maps)]

        return partial(pyramid, maps), last

    def batch_norms_folded(self) -> Calls:
        image = self._images()
        config = str(Path(__file__).resolve().parents[2] / 'configs/upernet_cait_deit_s_ade20k.py')
        plain, folded = (load_model(config) for _ in range(2))
        return tuple(partial(Overall(self._ready(model)), image) for model in (plain, deployed(folded)))

    def compiled_backbone(self) -> Calls:
        image = self._images()
        eager, compiled = (self._backbone() for _ in range(2))
        compiled.compile(fullgraph=True)
        return partial(eager, image), partial(compiled, image)

    def bf16_weights_instead_of_autocast(self) -> Calls:
        image = self._images()
        model, cast = (self._backbone() for _ in range(2))
        cast.bfloat16()

        def autocast() -> Any:
            with torch.autocast(self.mode.device, torch.bfloat16):
                return model(image)

        return autocast, lambda: cast(image.bfloat16())


MEANS = [name for name in vars(Bench) if not name.startswith('_')]


def measure(name: str, batch: int, args: argparse.Namespace) -> dict[str, Any]:
    """Milliseconds without a means and with it."""
    mode = Mode(args.device)
    calls: dict[str, Callable[[], Any]] = dict(zip(('without', 'with'), getattr(Bench(mode, batch), name)()))
    with mode.running():
        timings = time_interleaved(calls, args.rounds, device=mode.device)
    return {'means': name, 'batch': batch, 'rounds': args.rounds, 'conditions': conditions(args.device),
            'spread': max(timing.spread for timing in timings.values()),
            **{key: 1000 * timing.median for key, timing in timings.items()}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--means', nargs='+', choices=MEANS, default=MEANS)
    parser.add_argument('--batches', nargs='+', type=positive_int, default=[1, 4])
    parser.add_argument('--device', choices=('cpu', 'cuda'), default='cuda' if torch.cuda.is_available() else 'cpu')
    parser.add_argument('--rounds', type=positive_int, default=30)
    parser.add_argument('--out', type=Path, default=Path('work_dirs/evidence_means'))
    add_json_option(parser)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    rows, results = [], []
    for name in args.means:
        for batch in args.batches:
            found = kept(args.out / f'{name}_{batch}_{args.device}.json', partial(measure, name, batch, args))
            results.append(found)
            rows.append([name.replace('_', ' '), str(batch), *(f'{found[key]:.2f} ms' for key in ('without', 'with')),
                         f'{found["without"] / found["with"]:.2f}x', f'{found["spread"]:.0%}'])
            print(*rows[-1], file=sys.stderr, flush=True)
    text = table(['means', 'batch', 'without', 'with', 'faster', 'quartiles apart'], rows)
    about = '; '.join(sorted({', '.join(f'{key} {value}' for key, value in found['conditions'].items())
                              for found in results}))
    report(f'{text}\n{about}', results, args.json)


if __name__ == '__main__':
    run(main)
