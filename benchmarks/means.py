"""The effect of the optimisations that were kept: the same work without and with one, interleaved, random weights.

docs/data/means.csv also has the rows of those that were dropped. Means for whole models are modes of
benchmarks/speed.py.
"""
import argparse
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from shared import Row, View, finish, machine, parser_of
from timm.layers import Mlp
from torch import nn
from torch.nn.functional import interpolate

from cait_mm.analysis.modes import Mode
from cait_mm.analysis.speed import conditions, time_interleaved
from cait_mm.config.cli import positive_int, run
from cait_mm.ops.attention import Attention
from cait_mm.ops.token_merge import TokenMerge, restore
from cait_mm.utils.files import kept

VIEW: View = {'means': '{means}', 'batch': '{batch}', 'without': '{without_ms:.2f} ms', 'with': '{with_ms:.2f} ms',
              'faster': '{faster:.2f}x', 'quartiles apart': '{iqr_percent:.0f} %'}


def means_of(batch: int) -> dict[str, tuple[Callable[[], Any], Callable[[], Any]]]:
    """The work without and with every means: that of DeiT-Small on a batch of images of 512x512."""
    dim, heads, grid = 384, 6, (32, 32)
    tokens, maps = torch.randn(batch, 32 * 32, dim), [torch.randn(batch, dim, height, 16) for height in (32, 16)]
    apart, whole = [nn.Linear(dim, heads * 48) for _ in range(3)], nn.Linear(dim, 3 * heads * 48)
    odd, even = Attention(dim, heads, 45, 47, head_dim=64), Attention(dim, heads, 48, 48, head_dim=64)
    merge = TokenMerge(dim, 'horizontal')
    return {
        'one_product_for_q_k_v': (lambda: [layer(tokens) for layer in apart], partial(whole, tokens)),
        'heads_of_one_multiple_of_8': (partial(odd, tokens), partial(even, tokens)),
        'ffns_of_a_multiple_of_8': (partial(Mlp(dim, 1260).eval(), tokens), partial(Mlp(dim, 1264).eval(), tokens)),
        # even and odd tokens are concatenated, or pairs taken as they lie in memory
        'horizontal_merge_as_a_view': (lambda: merge.fuse(torch.cat([tokens[:, ::2], tokens[:, 1::2]], dim=-1)),
                                       lambda: merge(tokens, grid)[0]),
        'restoring_by_repeating': (lambda: [interpolate(item, grid) for item in maps],
                                   lambda: [restore(item, grid) for item in maps]),
    }


def measure(name: str, batch: int, args: argparse.Namespace) -> Row:
    """The milliseconds without a means and with it."""
    mode = Mode(args.device)
    with torch.device(args.device):
        without, using = means_of(batch)[name]
    with mode.running():
        timings = time_interleaved({'without': without, 'with': using}, args.rounds, device=mode.device)
    times = {f'{key}_ms': 1000 * timing.median for key, timing in timings.items()}
    return {'means': name.replace('_', ' '), 'batch': batch, **times, 'faster': times['without_ms'] / times['with_ms'],
            'iqr_percent': 100 * max(timing.spread for timing in timings.values()), 'rounds': args.rounds,
            'machine': machine(conditions(args.device))}


def main() -> None:
    means = list(means_of(1))
    parser = parser_of(__doc__, 'means')
    parser.add_argument('--means', nargs='+', choices=means, default=means)
    parser.add_argument('--batches', nargs='+', type=positive_int, default=[1, 4])
    parser.add_argument('--device', choices=('cpu', 'cuda'), default='cuda' if torch.cuda.is_available() else 'cpu')
    parser.add_argument('--rounds', type=positive_int, default=30)
    args = parser.parse_args()
    rows = [kept(args.out / f'{name}_{batch}_{args.device}.json', partial(measure, name, batch, args))
            for name in args.means for batch in args.batches]
    finish(args, 'means', ('means', 'batch', 'machine'), (VIEW, rows))


if __name__ == '__main__':
    run(main)
