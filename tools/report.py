"""Write a page about compressed models: how much faster, smaller and worse they are, and what was done to them.

A result is a compressed classifier (.pth), the folder that tools/compress.py wrote, the work directory of a compression
run, the folder of the quick start, or a page of this command. The page is one HTML file that needs no network. Commands
that compress write one themselves, which is taken as it is unless one of --dense, --images, --num-images or --again
asks for more.
"""
import _early  # noqa: F401  # isort: skip
import argparse
from pathlib import Path
from typing import Any

from cait_mm.config.cli import add_json_option, logs_aside, output_file, positive_int, report, run
from cait_mm.errors import UserError
from cait_mm.report import page, quickstart, sources
from cait_mm.report.answer import answer
from cait_mm.report.attempt import place_of
from cait_mm.report.facts import checksum
from cait_mm.report.gather import gather
from cait_mm.report.pair import Pair
from cait_mm.utils.files import checkpoint_of


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('results', nargs='+', type=Path, metavar='WORK_DIR_OR_RESULT',
                        help='what to report on; several stand side by side')
    parser.add_argument('--out', type=output_file, metavar='FILE',
                        help='the page (default: report.html in the result\'s folder, for a file beside it with .html; '
                        'of several results: report.html here)')
    parser.add_argument('--dense', metavar='CHECKPOINT',
                        help='the dense model\'s weights, without which predictions cannot be compared')
    parser.add_argument('--images', metavar='DIR_OR_LIST',
                        help='pictures to compare predictions on (default: the validation split of the result\'s '
                        'config, where it has one, with labels)')
    parser.add_argument('--num-images', type=positive_int, metavar='N',
                        help=f'how many of them (default: {sources.OF_CLASSIFIERS} of a classifier\'s, '
                        f'{sources.OF_OTHERS} of others)')
    parser.add_argument('--data-root', metavar='DIR', help='where a config\'s data are, instead of its data_root')
    parser.add_argument('--again', action='store_true', help='measure again what a page has already')
    add_json_option(parser)
    return parser.parse_args()


def data_of(path: Path, args: argparse.Namespace) -> list[dict[str, Any]]:
    """The data of the reports on one result: those in its page, or measured now."""
    kind = sources.kind_of(path)
    if kind == 'page':
        return page.read(path)
    asked = args.dense or args.images or args.num_images or args.again
    return (None if asked else kept(path, kind)) or [gather(pair_of(path, kind, args))]


def kept(path: Path, kind: str) -> list[dict[str, Any]] | None:
    """The data in the page beside a result, if it is of the weights that are there now."""
    place = place_of(path)
    if not place.is_file():
        return None
    weights = {'classifier': lambda: path, 'model': lambda: path / sources.MODEL, 'run': lambda: checkpoint_of(path),
               'quickstart': lambda: quickstart.checkpoint_in(path, 'small')}[kind]()
    try:
        found = page.read(place)
    except UserError:
        return None
    return found if all(data.get('weights') == checksum(weights) for data in found) else None


def pair_of(path: Path, kind: str, args: argparse.Namespace) -> Pair:
    if kind == 'model':
        return sources.open_model(path, args.dense, args.images, args.num_images, args.data_root)
    if kind == 'quickstart':
        return quickstart.open_quickstart(path, args.num_images)
    return {'classifier': sources.open_classifier, 'run': sources.open_run}[kind](
        path, args.dense, args.images, args.num_images)


def main() -> None:
    args = parse_args()
    with logs_aside(args.json):
        found = [data for path in args.results for data in data_of(path, args)]
    out = args.out or (place_of(args.results[0]) if len(args.results) == 1 else Path('report.html'))
    page.write(out, found)
    lines = [f'{data["name"]}: {answer(data)["sentence"]}' for data in found]
    result = {'report': str(out), 'results': [{'name': data['name'], **answer(data),
                                               'channels': data.get('run', {}).get('channels')} for data in found]}
    report('\n'.join([*lines, f'report: {out}']), result, args.json)


if __name__ == '__main__':
    run(main)
