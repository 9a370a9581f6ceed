"""The one way of all benchmarks: write a config; train, fold, test and time it with the tools; keep rows, show them.

Finished results are kept below --out and not computed again. Rows are kept as CSV; docs/data has those of the docs.
"""
import argparse
import csv
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from string import Formatter
from typing import Any

from cait_mm.config.cli import add_json_option, output_folder, report, result_of, run_python
from cait_mm.config.load import moved_to
from cait_mm.utils.files import atomic_path, read_json
from cait_mm.utils.tables import table

ROOT = Path(__file__).resolve().parents[1]
Row = dict[str, Any]
View = Mapping[str, str]
"""Headers, and the template of each one's cells (:func:`cell`)."""


def config_of(name: str) -> Path:
    """The config of this name, present or former."""
    path = ROOT / 'configs' / f'{name}.py'
    return Path(moved_to(str(path)) or path)


def write_config(path: Path, base: str, **settings: Any) -> Path:
    """A config that changes ``settings`` of the config named ``base``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [f'_base_ = {str(config_of(base))!r}', *(f'{name} = {value!r}' for name, value in settings.items())]
    path.write_text('\n'.join(lines) + '\n')
    return path


def tool(name: str, *words: Any) -> None:
    run_python(ROOT / 'tools' / f'{name}.py', *words)


def tested(config: Path, weights: Path, result: Path) -> dict[str, float]:
    """The scores of a checkpoint, compressed or of a training run."""
    return result_of(result, ROOT / 'tools/test.py', config, weights, '--work-dir', result.parent)


def timed(result: Path, models: Sequence[Path], *words: Any) -> list[dict[str, Any]]:
    """The models in one interleaved run of tools/benchmark.py, against the first."""
    if result.is_file() and set(map(str, models)) - read_json(result)['models'].keys():
        result.unlink()  # of other models
    measured = result_of(result, ROOT / 'tools/benchmark.py', *models[1:] or models, '--against', models[0], *words)
    return [{**measured['models'][str(model)], 'machine': machine(measured['conditions'])} for model in models]


def machine(conditions: Mapping[str, Any]) -> str:
    """The hardware and PyTorch of a measurement, which its row keeps."""
    place = conditions.get('device') or f'{conditions["CPU"]}, {conditions["threads"]} threads'
    return f'{place}, torch {conditions["torch"]}'


def timing(part: Mapping[str, Any], before: str = '') -> Row:
    """The columns of a part of a timed model; their names begin with ``before``."""
    row = {'gmacs': part['macs'] / 1e9 if 'macs' in part else '', 'ms': 1000 * part['seconds'],
           'half_iqr_percent': 50 * part['spread'], 'noisy': 'noisy' if part['noisy'] else '',
           'speedup': part['speedup'], 'ideal': part.get('ideal', ''), 'cap': part.get('cap', ''),
           'cost': part.get('cost', ''),
           'memory_mib': '' if part['peak_memory'] is None else part['peak_memory'] / 2**20}
    return {before + name: value for name, value in row.items()}


def add_timings(models: Mapping[Path, Row], result: Path, parts: Mapping[str, str], *words: Any) -> None:
    """Time models together, the dense one first, and add the columns of ``parts`` (with a prefix each) to their rows.

    What a row has already stays: a classifier's MACs are counted with ImageNet's head.
    """
    for row, model in zip(models.values(), timed(result, list(models), *words)):
        row.setdefault('params_m', model['params'] / 1e6)
        for part, before in parts.items():
            row.update(timing(model[part], before) | row)


def ratio(before: str = '') -> str:
    """The template of a speed-up and its ideal, the ratio of MACs."""
    return f'{{{before}speedup:.2f}}x ({{{before}ideal:.2f}}x)| {{{before}noisy}}'


def read_rows(path: Path) -> list[Row]:
    """The rows of a CSV file; cells that are numbers become some."""
    with path.open(newline='', encoding='utf-8') as file:
        return [{name: _number(value) for name, value in row.items()} for row in csv.DictReader(file)]


def _number(text: str) -> Any:
    for kind in (int, float):
        with suppress(ValueError):
            return kind(text)
    return text


def keep_rows(path: Path, rows: Sequence[Row], keys: Sequence[str]) -> None:
    """Add rows to a CSV file; one with the ``keys`` of a row that is there changes that row."""
    kept: dict[tuple[str, ...], Row] = {}
    for row in [*(read_rows(path) if path.is_file() else ()), *rows]:
        kept.setdefault(tuple(str(row[key]) for key in keys), {}).update(row)
    names = dict.fromkeys(name for row in kept.values() for name in row)
    with atomic_path(path) as target, target.open('w', newline='', encoding='utf-8') as file:
        writer = csv.DictWriter(file, list(names), restval='', lineterminator='\n')
        writer.writeheader()
        writer.writerows(kept.values())


def kept(path: Path, keys: Sequence[str], wanted: Iterable[Sequence[Any]], measure: Callable[..., Row],
         complete: str = '') -> Iterator[Row]:
    """The rows with the values of ``keys`` that are wanted, one after the other: those that a CSV file has, with a cell
    in the column ``complete`` if it is named, and new ones of ``measure(*values)``, which are added to it at once.
    """
    done = {tuple(str(row[key]) for key in keys): row for row in (read_rows(path) if path.is_file() else ())
            if not complete or row.get(complete, '') != ''}
    for values in wanted:
        row = done.get(tuple(map(str, values)))
        if row is None:
            row = {**dict(zip(keys, values)), **measure(*values)}
            keep_rows(path, [row], keys)
        yield row


def cell(template: str, row: Row) -> str:
    """A template filled in; each of its parts, which ``|`` separates, is left out where a value is missing."""
    return ''.join(part.format(**row) for part in template.split('|') if all(
        row.get(name, '') != '' for _, name, _, _ in Formatter().parse(part) if name))


def show(view: View, rows: Sequence[Row]) -> str:
    return table(list(view), [[cell(template, row) for template in view.values()] for row in rows])


def present(word: str) -> Path:
    """An argument's ``type``: a file or folder that is there, as an absolute path."""
    path = Path(word).resolve()
    if not path.exists():
        raise argparse.ArgumentTypeError(f'{path} does not exist')
    return path


def parser_of(text: str, name: str, folder: str = '') -> argparse.ArgumentParser:
    """A parser with the options of all benchmarks."""
    parser = argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--out', type=lambda word: output_folder(word).resolve(), metavar='DIR',
                        default=f'work_dirs/benchmark_{folder or name}', help='finished steps (default: %(default)s)')
    parser.add_argument('--data', type=output_folder, metavar='DIR',
                        help=f'add the rows to {name}.csv there: docs/data for the docs (default: that of --out)')
    add_json_option(parser)
    return parser


def finish(args: argparse.Namespace, name: str, keys: Sequence[str], *tables: tuple[View, list[Row]]) -> None:
    """Keep the rows of a benchmark and print its tables."""
    rows = [row for _, some in tables for row in some]
    keep_rows((args.data or args.out) / f'{name}.csv', rows, keys)
    report('\n\n'.join(show(*some) for some in tables), rows, args.json)
