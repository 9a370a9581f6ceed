"""Show on a page of this machine what a trained model, or two of them, see in a picture, and how long they take.

Without arguments it is the compressed UperNet of the quick start against the dense one, on its drawn scenes. Only this
machine reaches the page unless --host says otherwise, and nothing is sent anywhere. Ctrl-C ends it.
"""
import _early  # noqa: F401  # isort: skip
import argparse
import os
import sys
import tempfile
import threading
from contextlib import suppress
from pathlib import Path

import torch

from cait_mm.config.cli import add_json_option, positive_int, report, run
from cait_mm.config.screen import add_verbose_option, screen
from cait_mm.demo.page import build_page, require_gradio
from cait_mm.demo.predictor import load_predictor
from cait_mm.demo.server import HERE, served
from cait_mm.errors import UserError
from cait_mm.utils.files import newest_checkpoint
from cait_mm.utils.images import find_images
from cait_mm.utils.inputs import require_file
from cait_mm.utils.signals import Stopped

ROOT = Path(__file__).resolve().parents[1]
QUICKSTART = {'dense': 'upernet_deit_scenes', 'CAIT': 'upernet_cait_deit_scenes'}
OFFERED = 8


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('model', nargs='*', metavar='CONFIG CHECKPOINT',
                        help='a classifier, segmentor or detector (default: the compressed one of the quick start)')
    parser.add_argument('--against', nargs=2, metavar=('CONFIG', 'CHECKPOINT'), help='the dense model of the same task')
    parser.add_argument('--images', metavar='DIR', help='pictures to offer on the page')
    parser.add_argument('--quickstart', type=Path, default=ROOT / 'quickstart', metavar='DIR',
                        help='the folder of tools/quickstart.py that the default models are in')
    parser.add_argument('--host', default=HERE,
                        help=f'the address to listen on, 0.0.0.0 for all of this machine\'s (default: {HERE})')
    parser.add_argument('--port', type=positive_int, help='default: the first free one from 7860 on')
    parser.add_argument('--device', choices=('cpu', 'cuda'), default='cuda' if torch.cuda.is_available() else 'cpu',
                        help='default: a GPU if there is one')
    add_verbose_option(parser)
    add_json_option(parser)
    args = parser.parse_args()
    if len(args.model) not in (0, 2) or args.against and not args.model:
        parser.error('give a CONFIG and its CHECKPOINT, or neither for the models of the quick start')
    return args


def models_of(args: argparse.Namespace) -> dict[str, tuple[str, str]]:
    """Config and checkpoint of each model by its name, the one to compare with first.

    Raises:
        UserError: A file is not there.
    """
    if not args.model:
        return {name: of_quickstart(args.quickstart, folder) for name, folder in QUICKSTART.items()}
    pairs = [tuple(pair) for pair in (args.against, args.model) if pair]
    names = [name_of(config) for config, _ in pairs]
    if len(set(names)) < len(names):
        names = [f'{name}, {Path(checkpoint).stem}' for name, (_, checkpoint) in zip(names, pairs)]
    if len(set(names)) < len(names):
        names = [f'{which}: {name}' for which, name in zip(('against', 'model'), names)]
    for path in (path for pair in pairs for path in pair):
        require_file(path)
    return dict(zip(names, pairs))


def of_quickstart(folder: Path, name: str) -> tuple[str, str]:
    config, work_dir = folder / f'{name}.py', folder / name
    checkpoint = newest_checkpoint(work_dir) if work_dir.is_dir() else None
    if checkpoint is None or not config.is_file():
        raise UserError(f'{folder} holds no trained {name}: run bash tools/quickstart.sh first, or give a CONFIG and a '
                        'CHECKPOINT.')
    return str(config), checkpoint


def name_of(config: str) -> str:
    """A config's name; the one of its folder for tools/compress.py's ``config.py``."""
    path = Path(config).resolve()
    return path.parent.name if path.stem == 'config' else path.stem


def main() -> None:
    args = parse_args()
    models = models_of(args)
    images = args.images or (None if args.model else args.quickstart / 'scenes' / 'images' / 'validation')
    examples = [str(path) for path in find_images(images, OFFERED)] if images else []
    with tempfile.TemporaryDirectory(prefix='cait-demo-') as folder:
        os.environ.update(GRADIO_ANALYTICS_ENABLED='False', GRADIO_TEMP_DIR=folder)  # Gradio reads them when imported
        with screen(2, args.verbose, json_path=args.json) as shown:
            with shown.step('load Gradio'):
                require_gradio()
            with shown.step('load the models') as step:
                predictors = [load_predictor(*model, name, args.device)
                              for name, model in step.over(models.items(), 'models', len(models))]
        with served(build_page(predictors, examples, args.device), args.host, args.port) as address:
            report(f'open {address} in a browser; Ctrl-C ends it', {'address': address, 'models': models}, args.json)
            sys.stdout.flush()
            with suppress(Stopped):
                threading.Event().wait()


if __name__ == '__main__':
    run(main)
