"""The figures of a report that do not move, as SVG whose ink is the page's."""
import io
import re
from collections.abc import Callable, Mapping
from typing import Any

from markupsafe import Markup
from matplotlib import rc_context
from matplotlib.figure import Figure

from cait_mm.analysis import run_figures

INK = '#010203'
"""Stands for the page's colour of text, which no drawing uses otherwise."""
_STYLE = {'svg.fonttype': 'none', 'font.size': 10, 'figure.facecolor': 'none', 'axes.facecolor': 'none',
          'legend.framealpha': 0, 'savefig.facecolor': 'none', 'axes.spines.top': False, 'axes.spines.right': False,
          **dict.fromkeys(('text.color', 'axes.labelcolor', 'axes.edgecolor', 'axes.titlecolor', 'xtick.color',
                           'ytick.color'), INK)}


def drawn(data: Mapping[str, Any], prefix: str) -> list[dict[str, Any]]:
    """The figures of a compression run: title, text and SVG of each; none for other reports."""
    run, figures = data.get('run'), []
    if run and run.get('curves'):
        figures.append({
            'title': 'The ramp, the loss and the accuracy', 'text': 'Over the iterations of the run: the share of MACs '
            'that was wanted and that was reached, the largest norm of a channel that was being emptied, the loss, and '
            'the accuracy after each epoch.',
            'svg': svg(lambda: run_figures.curves(run['curves']), f'{prefix}c')})
    if run and run.get('heads'):
        figures.append({
            'title': 'Heads and masks', 'text': 'Channels of every head that are near zero, and those that were cut '
            '(the paper\'s Fig. 7). With both consistencies the two are the same.',
            'svg': svg(lambda: run_figures.channels_per_head({'': run['heads']}), f'{prefix}h')})
    return figures


def svg(draw: Callable[[], Figure], prefix: str) -> Markup:
    """A figure as SVG for a page: as wide as there is room, in the page's ink, its ids behind ``prefix``."""
    stream = io.StringIO()
    with rc_context({**_STYLE, 'svg.hashsalt': prefix}):
        draw().savefig(stream, format='svg', metadata={'Date': None, 'Creator': None})
    text = stream.getvalue()
    text = re.sub(r'<metadata>.*?</metadata>', '', text[text.index('<svg'):], flags=re.DOTALL)
    text = re.sub(r' (width|height)="[\d.]+pt"', '', text, count=2)
    text = re.sub(r'(\bid="|url\(#|href="#)', rf'\g<1>{prefix}-', text)
    return Markup(text.replace(INK, 'currentColor').replace('<svg', '<svg aria-hidden="true" focusable="false"', 1))
