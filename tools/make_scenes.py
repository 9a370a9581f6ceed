"""Draw the embedded data set: landscapes labelled for segmentation, detection and classification.

    python tools/make_scenes.py data/scenes
"""
import _early  # noqa: F401  # isort: skip
import argparse
from functools import partial

from cait_mm.config.cli import add_json_option, output_folder, positive_int, report, run, whole_number
from cait_mm.config.screen import screen
from cait_mm.datasets.scenes import make_scenes
from cait_mm.utils.files import unwritable


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('root', type=output_folder, metavar='ROOT', help='folder of the set, for example data/scenes')
    parser.add_argument('--train', type=positive_int, default=480, metavar='N', help='training scenes (default: 480)')
    parser.add_argument('--val', type=positive_int, default=80, metavar='N', help='validation scenes (default: 80)')
    parser.add_argument('--size', type=positive_int, nargs=2, default=(192, 192), metavar=('H', 'W'),
                        help='height and width in pixels (default: 192 192)')
    parser.add_argument('--seed', type=whole_number, default=0, metavar='S',
                        help='each seed gives other scenes (default: 0)')
    parser.add_argument('--overwrite', action='store_true', help='replace scenes made with other arguments')
    add_json_option(parser)
    args = parser.parse_args()
    root = args.root
    try:
        with screen(json_path=args.json) as shown, shown.step('draw the scenes') as step:
            meta = make_scenes(root, args.train, args.val, tuple(args.size), args.seed, args.overwrite,
                               progress=partial(step.over, unit='scenes'))
    except OSError as error:
        raise unwritable(root, error) from error
    sheet = root / 'preview.png'
    state = 'were there already' if meta['reused'] else 'are made'
    text = (f'{meta["train"]} training and {meta["val"]} validation scenes of {meta["size"][0]}x{meta["size"][1]} '
            f'pixels {state} in {root}; look at {sheet}.')
    report(text, {'root': str(root), 'preview': str(sheet), **meta}, args.json)


if __name__ == '__main__':
    run(main)
