"""Compress a trained model without labels: merges and a cut of channels, from some dozens of images.

OUT is a folder for a segmentor or detector: a config, its trained checkpoint and unlabelled images give a config.py and
a model.pth of the same task. OUT is a file (.pth) for a classifier, named by its architecture or by any config with its
backbone: this compressed checkpoint loads as a backbone of MMSeg and MMDet configs.
"""
import _early  # noqa: F401  # isort: skip
import argparse
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

from cait_mm import tune
from cait_mm.arch import NAMES, Arch, BlockName, get_arch, is_arch_name
from cait_mm.config.cli import (
    above_one,
    add_json_option,
    output_file,
    output_folder,
    parse_merges,
    positive,
    positive_int,
    report,
    run,
    share,
    whole_number,
)
from cait_mm.config.outcome import before_after, predicted, ranked, show_measuring, show_search, show_tuning, told
from cait_mm.config.screen import At, Screen, add_verbose_option, screen
from cait_mm.errors import UserError
from cait_mm.latency.cache import budget
from cait_mm.models import Classifier, load_classifier
from cait_mm.ops.token_merge import RESTORE_MODES
from cait_mm.pruning.compensate import RIDGE
from cait_mm.pruning.compress import compress
from cait_mm.pruning.fold import PAD_TO
from cait_mm.pruning.scores import CALIBRATED, nvit
from cait_mm.pruning.scores import NAMES as SCORES
from cait_mm.pruning.tune import LR, MODULE_LR, Tuned
from cait_mm.report.attempt import attempt, place_of
from cait_mm.spec import make_spec
from cait_mm.utils.images import find_images, load_batches

BATCH = 16
Merges = Sequence[tuple[BlockName, str]]


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('model', metavar='CONFIG_OR_ARCH',
                        help=f'a config with a backbone of this package, or an architecture: {NAMES}')
    parser.add_argument('checkpoint', help='the dense pretrained weights, or the checkpoint that the config trained')
    parser.add_argument('out', type=output_place, help='the compressed checkpoint (.pth) or the folder to write')
    budget = parser.add_mutually_exclusive_group(required=True)
    budget.add_argument('--target', type=share_or_none, metavar='SHARE',
                        help='the share of MACs to save, for example 0.505: of a whole classifier, of a segmentor\'s '
                        'or detector\'s backbone, where 0 only writes the model in this form')
    budget.add_argument('--speedup', type=above_one, metavar='X',
                        help='instead: how many times as fast that is to be, for example 2.0, by measured times')
    parser.add_argument('--latency-table', metavar='FILE',
                        help='measured times from tools/latency.py, of this or another machine (default: measure '
                        'this one for single images, once); also for the latency term of --score nvit')
    parser.add_argument('--images', metavar='DIR_OR_LIST',
                        help='a folder of images, or a text file with a path on every line; labels are not needed '
                        '(default for a segmentor or detector: the images that it was trained on)')
    parser.add_argument('--num-images', type=positive_int, metavar='N',
                        help='how many of them (default: 64 of a classifier\'s, 32 of others)')
    parser.add_argument('--data-root', metavar='DIR', help='where the config\'s data are, instead of its data_root')
    parser.add_argument('--merge', metavar='BLOCK:KIND,...',
                        help='merges, "" for none (default: the config\'s, or planned for most of the target)')
    parser.add_argument('--search', type=whole_number, default=0, metavar='N',
                        help='try N placements of merges near the planned one, some seconds each, and take the one '
                        'whose predictions stay nearest to the dense model\'s on half of the images, if that is sure')
    parser.add_argument('--align', type=positive_int, metavar='N',
                        help='leave widths in multiples of N (default: 1 for a classifier, for others as padded)')
    parser.add_argument('--pad-to', type=whole_number, default=PAD_TO, metavar='N',
                        help='zero-pad heads and FFNs to multiples of N, which fast kernels need; 0 leaves the widths '
                        f'as selected (default: {PAD_TO})')
    parser.add_argument('--merge-weights', choices=('distance', 'mean'), default='distance',
                        help='how new merges weigh the tokens that they fuse: by their distance from the mean token, '
                        'or all alike, as the paper does (default: distance)')
    parser.add_argument('--no-proportional', action='store_true',
                        help='count a merged token once in attention, not as often as it has patches')
    parser.add_argument('--ridge', type=positive_or_inf, default=RIDGE, metavar='X',
                        help='of the regression by which channels that stay stand in for those that are cut; inf keeps '
                        f'their means only (default: {RIDGE:g})')
    parser.add_argument('--score', choices=SCORES, default=CALIBRATED,
                        help='by what channels are judged: their contribution in a new basis of attention, or as '
                        f'another method does; docs/rivals.md has them (default: {CALIBRATED})')
    parser.add_argument('--restore-mode', choices=RESTORE_MODES,
                        help='how a segmentor\'s or detector\'s maps are restored (default: residual_linear where '
                        'merges are put in, otherwise as the config says)')
    parser.add_argument('--tune', type=whole_number, default=0, metavar='N',
                        help='let the dense model teach the small one for N steps, on all images of --images and '
                        'without labels; some hundreds on some thousands. The same command continues a killed run')
    parser.add_argument('--tune-later', action='store_true',
                        help='with --tune, for several GPUs: only write OUT/tuning/run.py for tools/dist_train.sh; the '
                        'same command without this option then takes its weights')
    parser.add_argument('--batch-size', type=positive_int, metavar='N',
                        help='of --tune (default: 32 for a classifier, for others the config\'s)')
    parser.add_argument('--lr', type=positive, help=f'of the first step of --tune (default: {LR:g} for a classifier, '
                        f'{MODULE_LR:g} for others)')
    parser.add_argument('--amp', nargs='?', const='float16', choices=['float16', 'bfloat16'],
                        help='mixed precision in --tune of a segmentor or detector (default: float16)')
    parser.add_argument('--no-report', action='store_true',
                        help='write no report.html (for a classifier: OUT with .html), which takes some seconds')
    add_verbose_option(parser)
    add_json_option(parser)
    args = parser.parse_args()
    if args.out.suffix and args.images is None:
        parser.error('the following arguments are required: --images')
    others = [name for name in ('restore_mode', 'amp', 'tune_later') if getattr(args, name)]
    if args.out.suffix and others:
        parser.error(f'--{others[0].replace("_", "-")} is for segmentors and detectors, whose OUT is a folder')
    if not args.tune and (args.amp or args.tune_later or args.lr or args.batch_size):
        parser.error('--amp, --tune-later, --lr and --batch-size go with --tune')
    if args.latency_table and not args.speedup and args.score != 'nvit':
        parser.error('--latency-table goes with --speedup or --score nvit')
    if args.search and args.merge is not None:
        parser.error('--search looks for the places to merge, and --merge names them: give one of them')
    return args


def output_place(word: str) -> Path:
    """A file where the word ends like one, else a folder."""
    return (output_file if Path(word).suffix else output_folder)(word)


def positive_or_inf(word: str) -> float:
    return math.inf if word == 'inf' else positive(word)


def share_or_none(word: str) -> float:
    return 0. if word in ('0', '0.0') else share(word)


def load_dense(args: argparse.Namespace) -> tuple[Classifier, Merges | None]:
    """The dense classifier, and where to merge; None leaves that to the target."""
    if args.model.endswith('.py'):
        arch, merge = described_backbone(args.model)
    elif is_arch_name(args.model):
        arch, merge = get_arch(args.model), None
    else:
        raise UserError(f'{args.model} is neither a config file nor one of {NAMES}.')
    if args.merge is not None:
        merge = parse_merges(args.merge)
    make_spec(arch, merge or ())  # its errors should appear before anything is read
    return load_classifier(args.checkpoint, arch), merge


def described_backbone(config: str) -> tuple[Arch, Merges]:
    """Architecture and merges of a config's backbone.

    Raises:
        UserError: It has no backbone of this package.
    """
    from cait_mm.backbones import BACKBONES
    from cait_mm.config.load import load_config
    backbone = load_config(config).get('model', {}).get('backbone', {})
    family = next((name for name, kind in BACKBONES.items() if kind.__name__ == backbone.get('type')), None)
    if family is None or 'arch' not in backbone:
        kinds = ', '.join(kind.__name__ for kind in BACKBONES.values())
        raise UserError(f'{config} has no backbone with an arch to compress (one of {kinds}).')
    arch = get_arch(backbone['arch'], family)
    return replace(arch, in_channels=backbone.get('in_channels') or arch.in_channels), backbone.get('merge', ())


def compress_whole(args: argparse.Namespace, shown: Screen) -> tuple[str, dict[str, Any]]:
    """Write the folder of a segmentor or detector; the changes, for people and as JSON."""
    from cait_mm.compression.model import compress_model
    from cait_mm.compression.small_config import changes
    from cait_mm.compression.tuning import RUN, discard, prepare_tuning, tune_compressed
    merge = None if args.merge is None else parse_merges(args.merge)
    with shown.step(f'compress {Path(args.checkpoint).name}') as step:
        found = compress_model(args.model, args.checkpoint, args.images, args.target, speedup=args.speedup,
                               latency=args.latency_table, measuring=partial(show_measuring, at=step.at), merge=merge,
                               align=args.align, pad_to=args.pad_to, num_images=args.num_images,
                               data_root=args.data_root, restore_mode=args.restore_mode, search=args.search,
                               progress=partial(show_search, at=step.at), **means(args))
    if args.tune:
        with shown.step('tune it') as step:
            config = prepare_tuning(found, args.images, args.tune, args.out / 'tuning', batch_size=args.batch_size,
                                    lr=args.lr or MODULE_LR, amp=args.amp)
            if args.tune_later:
                return later(config.work_dir), {'run': f'{config.work_dir}/{RUN}'}
            tune_compressed(found, config, step.at)
    found.save(args.out)
    if args.tune:
        discard(config.work_dir)
    lines = reported(args, shown, partial(whole_pair, args, found))
    result = found.result()
    lines = [*changes(result), *lines, f'use it: python tools/test.py {args.out}/config.py {args.out}/model.pth']
    return ranked(result.get('search')) + predicted(result.get('latency')) + '\n'.join(lines), result


def later(folder: str) -> str:
    """How to train a prepared run on several GPUs, for people."""
    return (f'train it: bash tools/dist_train.sh {folder}/run.py GPUS --resume\nand take its weights: this command '
            'without --tune-later')


def means(args: argparse.Namespace) -> dict[str, Any]:
    """The options that switch single means of the compression, as the library's arguments."""
    judged = args.score == 'nvit' and args.latency_table
    score = partial(nvit, latency=args.latency_table) if judged else args.score
    return dict(weighted=args.merge_weights == 'distance', proportional=not args.no_proportional, ridge=args.ridge,
                score=score)


def compress_classifier(args: argparse.Namespace, shown: Screen) -> tuple[str, dict[str, Any]]:
    """Write the compressed checkpoint of a classifier; the changes, for people and as JSON."""
    with shown.step(f'compress {Path(args.checkpoint).name}') as step:
        model, merge = load_dense(args)
        paths = find_images(args.images, args.num_images or 64)
        target, latency_table = budget(model, model.backbone.img_size, args.target, args.speedup, args.latency_table,
                                       progress=partial(show_measuring, at=step.at))
        images = step.over(load_batches(paths, model.spec.arch.img_size[0], BATCH), 'batches of images',
                           math.ceil(len(paths) / BATCH))
        small = compress(model, images, target, merge or None if args.search else merge, args.align or 1,
                         args.pad_to, search=args.search, latency=latency_table,
                         progress=partial(show_search, at=step.at), **means(args))
    tuned = None
    if args.tune:
        with shown.step('tune it') as step:
            tuned = learned(small, model, args, step.at)
    small.save(args.out)
    text, result = before_after(small, args.out)
    searched, latency = small.provenance.get('search'), small.provenance.get('latency')
    more = {name: value for name, value in (('search', searched), ('latency', latency)) if value}
    text, result = ranked(searched) + predicted(latency) + text, {**result, **more}
    text = '\n'.join([text, *reported(args, shown, partial(classifier_pair, args, model, small))])
    return (f'{text}\n{told(tuned)}', {**result, 'tuned': asdict(tuned)}) if tuned else (text, result)


def learned(small: Classifier, dense: Classifier, args: argparse.Namespace, at: At) -> Tuned:
    """Tune ``small``. A run that was killed continues from a file next to OUT."""
    state = Path(f'{args.out}.tuning')
    result = tune(small, dense, args.images, args.tune, batch_size=args.batch_size, lr=args.lr, checkpoint=state,
                  progress=partial(show_tuning, at=at))
    state.unlink()
    return result


def reported(args: argparse.Namespace, shown: Screen, pair: Callable[[], Any]) -> list[str]:
    """A line about the report of ``pair()``, which is written now that the result is; none if none is wanted."""
    if args.no_report:
        return []
    with shown.step('write the report'):
        return [attempt(place_of(args.out), pair)]


def classifier_pair(args: argparse.Namespace, dense: Classifier, small: Classifier) -> Any:
    from cait_mm.report import sources
    return sources.classifier_pair(small, args.out, dense, args.checkpoint, args.images, args.num_images or 64)


def whole_pair(args: argparse.Namespace, found: Any) -> Any:
    from cait_mm.report import sources
    return sources.model_pair(args.out, found.small, found.config, found.dense, args.checkpoint,
                              fallback=args.images, counts=found.counts,
                              dataset_meta=found.provenance.get('dataset_meta'))


def main() -> None:
    args, start = parse_args(), time.time()
    steps = 1 + bool(args.tune) + (not args.no_report and not args.tune_later)
    with screen(steps, args.verbose, json_path=args.json) as shown:
        text, result = (compress_classifier if args.out.suffix else compress_whole)(args, shown)
    report(f'{text}\nin {time.time() - start:.0f} s', result, args.json)


if __name__ == '__main__':
    run(main, ('target', 'speedup', 'merge', 'search', 'align', 'pad_to', 'images', 'ridge', 'score', 'tune', 'lr'))
