"""Write the tables of docs/*.md, and the plot of docs/performance.md, from the rows in docs/data.

A table stands between the lines "<!-- table NAME -->" and "<!-- end -->". --check writes nothing and lists the
differences.
"""
import argparse
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import matplotlib
from ablations import VARIANTS
from curves import VIEW as CURVE
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from shared import ROOT, Row, View, ratio, read_rows, show
from speed import PLAIN_VITS
from speed import VIEW as SPEED
from tasks import TASKS
from trained import VIEW as TRAINED
from untrained import SEARCHED

from cait_mm.config.cli import add_json_option, report, run
from cait_mm.errors import UserError
from cait_mm.utils.files import atomic_path

DATA = ROOT / 'docs/data'
GREY = '#808080'
COLOURS = {'measured': '#2f81f7', 'memory kept': '#d29922', 'ideal': GREY}
"""Readable on white and on black."""
SERIES = {'ToMe': '#d29922', 'ToMe, halving': '#bf6a02', 'merges': '#3fb950', 'planned': '#2f81f7',
          'planned, tuned': '#a371f7'}
STYLE = {'svg.fonttype': 'none', 'svg.hashsalt': 'cait_mm', 'font.family': 'sans-serif'}


@dataclass(frozen=True)
class Table:
    """Rows of a file whose cells are among those in ``where``, in its order; ``pivot`` turns rows into columns.

    With ``pivot=('seed', 'top1')`` a variant's rows of all seeds become one with ``top1_0``, ``top1_1`` and so on.
    """
    file: str
    view: View
    where: dict[str, Sequence[object]] = field(default_factory=dict)
    pivot: tuple[str, str] | None = None

    def rows(self) -> list[Row]:
        rows = [row for row in read_rows(DATA / f'{self.file}.csv')
                if all(row[name] in wanted for name, wanted in self.where.items())]
        rows.sort(key=lambda row: [wanted.index(row[name]) for name, wanted in self.where.items()])
        if not self.pivot:
            return rows
        (column, value), merged = self.pivot, {}
        for row in rows:
            merged.setdefault(row['variant'], dict(row))[f'{value}_{row[column]}'] = row[value]
        return list(merged.values())


def picked(view: View, *headers: str) -> View:
    return {header: view[header] for header in headers}


def timings(case: str, *headers: str, **templates: str) -> Table:
    """Models of a case of speed.csv."""
    names = ('model', *headers, 'GMACs', MEDIAN, 'speed-up', 'ideal')
    return Table('speed', {**picked(SPEED, *names), **templates}, {'case': [case]})


MEDIAN = 'median (half the quartiles\' distance)'
SAVED = {'GMACs': '{gmacs:.3f}', 'saved': '{saved_percent:.1f} %'}
PARAMS = {'params (M)': '{params_m:.2f}'}
TABLES = {
    'targets': Table('targets', {
        'what': '{what}', 'GMACs': '{dense_gmacs:.2f} → {gmacs:.2f}',
        'median, dense → this': '{dense_ms:.4g} ms ±{dense_half_iqr_percent} %| {dense_noisy}| → {ms:.4g} ms '
                                '±{half_iqr_percent} %| {noisy}',
        'target': '{goal} {target:.2f}{unit}', 'measured': '**{measured:.2f}**',
        'memory kept': '{kept:.2f}| {kept_noisy}', 'ideal': '{ideal:.2f}', 'result': '{result}'}),
    'untrained': Table('untrained', {'variant': '{variant}', **SAVED, 'sharp, 1000 classes': '{top1_sharp:.1f} %',
                                     'small, 20 classes': '{top1_small:.1f} %'}, {'merges': ['']}),
    'searched': Table('untrained', {
        'variant': '{variant}', 'merges': '`{merges}`', 'saved': SAVED['saved'],
        'sharp: KL': '{kl_sharp:.3f}', 'top-1': '{top1_sharp:.1f} %', 'small: KL': '{kl_small:.3f}',
        'top-1, 20 classes': '{top1_small:.1f} %'}, {'variant': SEARCHED}),
    'curves': Table('curves', CURVE),
    'trained': Table('trained', TRAINED),
    'compression': Table('ablations', {
        'variant': '{variant}', 'top-1 %': '{top1_0:.1f}', 'seed 1': '{top1_1:.1f}', **SAVED, **PARAMS,
        'speed (ideal)': ratio()}, {'data': ['tiny_imagenet_20'], 'variant': list(VARIANTS)}, ('seed', 'top1')),
    'step': Table('speed', {'config': '`{model}`', 'training step': '{ms:.4g} ms| ±{half_iqr_percent:.2g} %',
                            'cost': '{cost:.2f}x'}, {'case': ['step']}),
    'camvid': Table('tasks', {
        'config': '`{config}`', 'test mIoU': '{after_mIoU:.2f}', 'pixel accuracy': '{after_aAcc:.2f}',
        'training step': '{step_s:.3f} s| ±{step_half_iqr_percent:.2g} %', 'speed-up': '{step_speedup:.2f}x',
        'peak memory of the process': '{process_gib:.2f} GiB'}, {'task': ['camvid']}),
    'camvid_speed': timings('camvid', 'part'),
    'tome': Table('speed', {
        **picked(SPEED, 'model', 'GMACs'), 'median (quartiles)': '{ms:.4g} ms ({low_ms:.4g} to {high_ms:.4g})',
        **picked(SPEED, 'speed-up', 'ideal'), 'memory at most': '{memory_mib:.4g} MiB'}, {'case': ['tome']}),
    'plain_vits': Table('speed', picked(SPEED, 'model', 'part', 'GMACs', MEDIAN, 'speed-up', 'ideal'),
                        {'case': list(PLAIN_VITS)}),
    'swin_lvvit': timings('swin_lvvit', **{'saved': SAVED['saved']}),
    'families': Table('families', {
        'model': '{family} {kind}', 'top-1 %': '{top1:.1f}', 'GMACs at 128': '{gmacs:.3f}', 'saved': SAVED['saved'],
        **PARAMS, 'CamVid mIoU': '{mIoU:.1f}', 'classifier speed (ideal)': ratio('classifier_'),
        'UperNet encoder': ratio('encoder_'), 'UperNet overall': ratio('overall_')}),
    'quickstart': Table('quickstart', {
        'UperNet on': '{model}', 'encoder GMACs': '{encoder_gmacs:.2f}', 'overall GMACs': '{overall_gmacs:.2f}',
        **PARAMS, 'encoder speed (ideal)': ratio('encoder_'), 'overall speed (ideal)': ratio('overall_'),
        'top-1 before': '{top1:.1f}', 'mIoU': '{mIoU:.1f}'}),
    'real_size': timings('real_size', 'part', 'input', 'batch'),
    **{name: Table('tasks', task.view, {'task': [name, f'swin_{name}', name.replace('mask_rcnn', 'swin_cascade')]})
       for name, task in TASKS.items() if name != 'camvid'},
}


def rendered(name: str) -> str:
    """A table's Markdown, one space around its cells."""
    text = show(TABLES[name].view, TABLES[name].rows())
    return re.sub(r'-{3,}', ' --- ', re.sub(r' {2,}', ' ', text))


def refreshed(page: str) -> str:
    """A page with its tables as the data have them.

    Raises:
        UserError: It wants a table that there is not.
    """
    def fill(match: re.Match[str]) -> str:
        name = match[1]
        if name not in TABLES:
            raise UserError(f'there is no table {name}; there are {", ".join(TABLES)}.')
        return f'<!-- table {name} -->\n{rendered(name)}\n<!-- end -->'

    return re.sub(r'<!-- table (\S+) -->\n.*?<!-- end -->', fill, page, flags=re.DOTALL)


def plain(axis: Axes, label: str, lines: str = 'both') -> None:
    """Leave grey lines along the ticks of an axis (``x``, ``y``) or of both, and label the lower one."""
    axis.set_xlabel(label, color=GREY)
    axis.tick_params(colors=GREY)
    axis.grid(axis=lines, color=GREY, alpha=0.25)
    axis.spines[:].set_visible(False)


def save(figure: Figure, path: Path) -> None:
    with atomic_path(path) as target:
        figure.savefig(target, format='svg', transparent=True, metadata={'Date': None})


def draw_targets(path: Path) -> None:
    """Speed-ups of the targets: measured, with memory kept, and the ideal."""
    rows = [row for row in TABLES['targets'].rows() if row['unit'] == 'x'][::-1]
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(9, 3.6), layout='constrained')
        axis = figure.subplots()
        for name, column, marker in (('ideal', 'ideal', '|'), ('measured', 'measured', 'o'),
                                     ('memory kept', 'kept', 'D')):
            shown = [(row[column], place) for place, row in enumerate(rows) if row[column] != '']
            axis.scatter(*zip(*shown), s=200 if marker == '|' else 36, marker=marker, color=COLOURS[name], label=name)
        axis.set_yticks(range(len(rows)), [row['what'] for row in rows])
        axis.set_xlim(left=1)
        plain(axis, 'times as fast as dense', 'y')
        axis.legend(frameon=False, labelcolor=GREY, ncols=3, loc='lower center', bbox_to_anchor=(0.5, 1))
        save(figure, path)


def draw_curves(path: Path) -> None:
    """Top-1 of compressed classifiers against the MACs that they save, and against how fast they are."""
    rows, axes_of = TABLES['curves'].rows(), {'saved_percent': 'MACs saved, %', 'speedup_32': 'times as fast, batch 32'}
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(9, 6), layout='constrained')
        grid = figure.subplots(2, 2, sharey='row')
        for axes, (score, images) in zip(grid, {'top1_small': '20 classes', 'top1_sharp': '1000 classes'}.items()):
            for axis, (column, label) in zip(axes, axes_of.items()):
                for name, colour in SERIES.items():
                    line = sorted((row[column], row[score]) for row in rows if row[column] != '' and name == (
                        f'{row["series"]}, tuned' if row['steps'] else row['series']))
                    if line:
                        axis.plot(*zip(*line), marker='o', markersize=4, color=colour, label=name)
                plain(axis, label)
            axes[0].set_ylabel(f'top-1, {images}, %', color=GREY)
        figure.legend(*grid[0, 0].get_legend_handles_labels(), frameon=False, labelcolor=GREY, ncols=5,
                      loc='outside upper center')
        save(figure, path)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--check', action='store_true')
    parser.add_argument('--out', type=Path, default=ROOT / 'docs', help='folder of the pages (default: docs)')
    add_json_option(parser)
    args = parser.parse_args()
    pages = {path: path.read_text(encoding='utf-8') for path in sorted(args.out.glob('*.md'))}
    changed = {path: refreshed(page) for path, page in pages.items() if refreshed(page) != page}
    if not args.check:
        for path, page in changed.items():
            with atomic_path(path) as target:
                target.write_text(page, encoding='utf-8')
        draw_targets(args.out / 'images/targets.svg')
        draw_curves(args.out / 'images/curves.svg')
    names = [path.name for path in changed]
    report(f'other tables in: {", ".join(names) or "no page"}', {'changed': names}, args.json)
    return 2 if changed and args.check else 0


if __name__ == '__main__':
    run(main)
