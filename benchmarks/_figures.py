"""The plots of the docs, from rows."""
from collections.abc import Iterable, Sequence
from pathlib import Path

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from shared import Row

from cait_mm.utils.files import atomic_path

GREY = '#808080'
COLOURS = {'measured': '#2f81f7', 'memory kept': '#d29922', 'ideal': GREY}
"""Readable on white and on black."""
SERIES = {'ToMe': '#d29922', 'ToMe, halving': '#bf6a02', 'merges': '#3fb950', 'planned': '#2f81f7',
          'planned, tuned': '#a371f7'}
GROUPS = {'dense': GREY, 'this package': '#2f81f7', 'tokens': '#d29922', 'channels': '#a371f7', 'both': '#bf6a02'}
"""What is compressed, and by whom, in the colours of the rivals' figure."""
STAGES = {'as they come': ('o', 'none'), 'tuned without labels': ('o', 'full'), 'trained with labels': ('s', 'full')}
"""Markers, and how they are filled."""
STYLE = {'svg.fonttype': 'none', 'svg.hashsalt': 'cait_mm', 'font.family': 'sans-serif'}


def plain(axis: Axes, label: str, lines: str = 'both') -> None:
    """Leave grey lines along the ticks of an axis (``x``, ``y``) or of both, and label the lower one."""
    axis.set_xlabel(label, color=GREY)
    axis.tick_params(colors=GREY)
    axis.grid(axis=lines, color=GREY, alpha=0.25)
    axis.spines[:].set_visible(False)


def save(figure: Figure, path: Path) -> None:
    with atomic_path(path) as target:
        figure.savefig(target, format='svg', transparent=True, metadata={'Date': None})


def draw_targets(path: Path, rows: Sequence[Row]) -> None:
    """Speed-ups of the targets: measured, with memory kept, and the ideal."""
    rows = [row for row in rows if row['unit'] == 'x'][::-1]
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


def draw_curves(path: Path, rows: Sequence[Row]) -> None:
    """Top-1 of compressed classifiers against the MACs that they save, and against how fast they are."""
    axes_of = {'saved_percent': 'MACs saved, %', 'speedup_32': 'times as fast, batch 32'}
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


Point = tuple[str, str, float, Sequence[float | str]]
"""A name, its group of :data:`GROUPS`, a speed-up, and a score or an empty text for each of :data:`STAGES`."""


def draw_rivals(path: Path, classifiers: Iterable[Point], segmentors: Iterable[Point]) -> None:
    """Scores against measured speed-ups, before and after training: classifiers left, segmentors right."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(11, 6.5), layout='constrained')
        axes = figure.subplots(1, 2)
        for axis, points, speed, score in zip(
                axes, (classifiers, segmentors), ('classifier, times as fast, batch 32', 'encoder, times as fast'),
                ('top-1, 20 classes, %', 'mIoU, CamVid')):
            for point in points:
                _draw_point(axis, *point)
            plain(axis, speed)
            axis.set_ylabel(score, color=GREY)
        for name, colour in GROUPS.items():
            axes[0].plot([], [], marker='o', linestyle='', color=colour, label=name)
        for name, (marker, fill) in STAGES.items():
            axes[0].plot([], [], marker=marker, linestyle='', color=GREY, label=name, fillstyle=fill)
        figure.legend(*axes[0].get_legend_handles_labels(), frameon=False, labelcolor=GREY, ncols=4,
                      loc='outside upper center')
        save(figure, path)


def _draw_point(axis: Axes, name: str, group: str, speedup: float, scores: Sequence[float | str]) -> None:
    """A mark for each score, one above the other on a line, and the name beside the highest."""
    marks = [(score, *mark) for score, mark in zip(scores, STAGES.values()) if score != '']
    for score, marker, fill in marks:
        axis.plot(speedup, score, marker=marker, color=GROUPS[group], fillstyle=fill)
    if marks:
        low, high = min(marks)[0], max(marks)[0]
        axis.plot([speedup] * 2, [low, high], color=GROUPS[group], linewidth=0.8)
        axis.annotate(name, (speedup, high), (4, 3), textcoords='offset points', fontsize=7, color=GROUPS[group])
