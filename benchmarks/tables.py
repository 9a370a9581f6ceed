"""Write the tables of docs/*.md, and the plots of the pages, from the rows in docs/data.

A table stands between the lines "<!-- table NAME -->" and "<!-- end -->". --check writes nothing and lists the
differences.
"""
import argparse
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from _figures import draw_curves, draw_rivals, draw_targets
from ablations import VARIANTS
from curves import VIEW as CURVE
from rivals import BOTH, CHANNELS
from rivals import VARIANTS as RIVALS
from shared import ROOT, Row, View, ratio, read_rows, show
from speed import PLAIN_VITS
from speed import VIEW as SPEED
from tasks import KINDS, TASKS
from trained import RIVALS as TRAINED_RIVALS
from trained import SCORES as TRAINED_TASKS
from trained import VARIANTS as COMPRESSED
from trained import VIEW as TRAINED
from untrained import SEARCHED

from cait_mm.config.cli import add_json_option, report, run
from cait_mm.errors import UserError
from cait_mm.utils.files import atomic_path

DATA = ROOT / 'docs/data'
OWN = ('ATME', 'ATME, weighted', 'CDCP', 'ATME+CDCP', 'CAIT', 'merges', 'merges and a cut', 'atme', 'cait')
"""Models of this package among its rivals."""


@dataclass(frozen=True)
class Table:
    """Rows of a file whose cells are among those in ``where``, in its order; ``pivot`` turns rows into columns.

    With ``pivot=('seed', 'top1')`` a variant's rows of all seeds become one with ``top1_0``, ``top1_1`` and so on; more
    names do the same for more columns.
    """
    file: str
    view: View
    where: dict[str, Sequence[object]] = field(default_factory=dict)
    pivot: tuple[str, ...] | None = None

    def rows(self) -> list[Row]:
        path = DATA / f'{self.file}.csv'
        rows = [row for row in (read_rows(path) if path.is_file() else ())
                if all(row[name] in wanted for name, wanted in self.where.items())]
        rows.sort(key=lambda row: [wanted.index(row[name]) for name, wanted in self.where.items()])
        if not self.pivot:
            return rows
        (column, *values), merged = self.pivot, {}
        for row in rows:
            cells = {f'{name}_{row[column]}': row.get(name, '') for name in values}
            merged.setdefault(row['variant'], dict(row)).update(cells)
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


def compared(*variants: str) -> Table:
    """Rivals, each as it comes, tuned and fine-tuned."""
    speeds = {f'{mode}, batch {batch}': f'{{{mode}_{batch}_speedup:.2f}}x| {{{mode}_{batch}_noisy}}'
              for mode, batch in (('fused', 1), ('fused', 32), ('unfused', 32), ('compiled', 32))}
    view = {'variant': '{variant}', **SAVED, **PARAMS, 'sharp: KL': '{kl_sharp_none:.3f}',
            'top-1': '{top1_sharp_none:.1f} %', 'tuned': '{top1_sharp_tuned:.1f} %',
            'small: top-1': '{top1_small_none:.1f} %', 'tuned ': '{top1_small_tuned:.1f} %',
            'with labels': '{top1_small_labels:.1f} %', **speeds, 'MiB at most': '{fused_32_memory_mib:.0f}'}
    return Table('rivals', view, {'variant': variants, 'training': ['none', 'tuned', 'labels'], 'seed': [0]},
                 ('training', 'kl_sharp', 'top1_sharp', 'top1_small'))


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
    'trained': Table('trained', TRAINED, {'task': list(TRAINED_TASKS), 'steps': [0, 200], 'variant': list(COMPRESSED)}),
    'rivals_trained': Table('trained', TRAINED, {'task': list(TRAINED_TASKS), 'steps': [0, 200], 'variant': [
        'dense', 'merges', 'merges and a cut', 'ToMe, halving', *TRAINED_RIVALS]}),
    'rivals': compared(*(name for name, how in RIVALS.items() if how.get('target') != CHANNELS)),
    'scores': compared('dense', *(name for name, how in RIVALS.items() if how.get('target') == CHANNELS)),
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


Points = Iterator[tuple[str, str, float, Sequence[float | str]]]
"""Names, groups, speed-ups, and scores as :func:`_figures.draw_rivals` wants them."""


def classifiers() -> Points:
    for row in [*TABLES['rivals'].rows(), *TABLES['scores'].rows()[1:]]:
        name, scores = row['variant'], [row.get(f'top1_small_{stage}', '') for stage in ('none', 'tuned', 'labels')]
        if row.get('fused_32_speedup', '') != '' and 'means kept' not in name:
            kind = {None: 'tokens', CHANNELS: 'channels', BOTH: 'both'}[RIVALS[name].get('target')]
            yield name, _group(name, kind), row['fused_32_speedup'], scores


def segmentors() -> Points:
    pivoted = replace(TABLES['rivals_trained'], pivot=('steps', 'score'))
    for row in replace(pivoted, where={**pivoted.where, 'task': ['camvid']}).rows():
        if row['encoder_speedup'] != '':
            name, scores = row['variant'], [row.get(f'score_{steps}', '') for steps in (0, 200)]
            yield name, _group(name, 'tokens'), row['encoder_speedup'], [*scores, '']
    kinds = {TASKS['rivals_camvid'].name.format(word): kind for kind, word in KINDS.items()}
    for row in TABLES['rivals_camvid'].rows():
        if row['encoder_speedup'] != '':
            name = kinds[row['config']].replace('_', ', ')
            yield name, _group(name, 'tokens'), row['encoder_speedup'], ['', '', row['after_mIoU']]


def _group(name: str, kind: str) -> str:
    return 'dense' if name == 'dense' else 'this package' if name in OWN else kind


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
        draw_targets(args.out / 'images/targets.svg', TABLES['targets'].rows())
        draw_curves(args.out / 'images/curves.svg', TABLES['curves'].rows())
        draw_rivals(args.out / 'images/rivals.svg', classifiers(), segmentors())
    names = [path.name for path in changed]
    report(f'other tables in: {", ".join(names) or "no page"}', {'changed': names}, args.json)
    return 2 if changed and args.check else 0


if __name__ == '__main__':
    run(main)
