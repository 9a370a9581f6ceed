"""Draw a compression run: channels kept, heads, CLS attention, curves (paper, Fig. 6 to 8).

With several work directories, such as runs with and without consistency, the picture of heads shows them below each
other.
"""
import _early  # noqa: F401  # isort: skip
import argparse
from pathlib import Path

from cait_mm.analysis import run_figures
from cait_mm.config.cli import add_json_option, output_folder, report, run
from cait_mm.errors import UserError
from cait_mm.models import Backbone, Classifier, classifier_backbone
from cait_mm.models.checkpoint import read_checkpoint
from cait_mm.pruning.fold import channel_scores, fold
from cait_mm.pruning.masks import masks_of
from cait_mm.pruning.training_checkpoint import load_training
from cait_mm.spec import Spec
from cait_mm.utils.files import checkpoint_of
from cait_mm.utils.images import find_images
from cait_mm.utils.tables import table


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('work_dirs', nargs='+', type=Path, metavar='WORK_DIR', help='work directory of tools/train.py')
    parser.add_argument('--out', type=output_folder, metavar='DIR',
                        help='folder for the pictures (default: WORK_DIR/report)')
    parser.add_argument('--image', type=Path, metavar='FILE_OR_DIR', help='draw the CLS attention over this image')
    parser.add_argument('--dense', metavar='CHECKPOINT', help='the dense model, drawn next to the compressed one')
    add_json_option(parser)
    return parser.parse_args()


def compressed(training: Classifier) -> Backbone:
    """The backbone as ``tools/fold.py`` will cut it."""
    if not training.provenance['cdcp']:
        return training.backbone
    return fold(training.backbone, masks_of(training.backbone), tolerance=None).backbone


def dense(checkpoint: str, like: Backbone) -> Backbone:
    """The dense model of the same architecture."""
    backbone = classifier_backbone(Spec.dense(like.arch), img_size=like.img_size).eval()
    backbone.load_checkpoint(read_checkpoint(checkpoint))
    return backbone


def draw_attention(args: argparse.Namespace, training: Classifier, out: Path) -> Path:
    if getattr(training.backbone, 'cls_token', None) is None:
        raise UserError(f'{training.backbone.arch.name} has no CLS token whose attention --image could draw.')
    if training.spec.arch.in_channels != 3:
        raise UserError(f'{training.spec.arch.name} takes images of {training.spec.arch.in_channels} channels, which '
                        'no picture of --image has.')
    path = Path(find_images(args.image, 1)[0]) if args.image.is_dir() else args.image
    if not path.is_file():
        raise UserError(f'{path} does not exist.')
    models = {'dense': dense(args.dense, training.backbone)} if args.dense else {}
    image = run_figures.load_image(path, training.backbone.img_size)
    figure = run_figures.attention_maps(image, {**models, 'compressed': compressed(training)})
    return run_figures.save(figure, out / 'attention.png')


def main() -> None:
    args = parse_args()
    out = args.out or args.work_dirs[0] / 'report'
    loaded = {path: load_training(checkpoint_of(str(path))) for path in args.work_dirs}
    first = loaded[args.work_dirs[0]]
    pruned = {path: run.backbone for path, run in loaded.items() if run.provenance['cdcp']}
    pictures = [run_figures.save(run_figures.curves(args.work_dirs[0]), out / 'curves.png')]
    result, rows = {}, []
    if first.provenance['cdcp']:
        kept = run_figures.kept_channels(first.backbone.spec, masks_of(first.backbone))
        pictures.append(run_figures.save(kept, out / 'channels.png'))
    if pruned:
        heads = {path.name: (channel_scores(model), masks_of(model), model.arch.planes)
                 for path, model in pruned.items()}
        pictures.append(run_figures.save(run_figures.channels_per_head(heads), out / 'heads.png'))
        for path, model in pruned.items():
            numbers = run_figures.describe(masks_of(model), channel_scores(model), model.arch.planes)
            result[str(path)] = numbers
            rows.append([path, *numbers.values()])
    if args.image is not None:
        pictures.append(draw_attention(args, first, out))
    text = table(['run', 'attention channels', 'near zero', 'masked', 'cut'], rows) + '\n' if rows else ''
    text += '\n'.join(f'picture: {path}' for path in pictures)
    report(text, {'runs': result, 'pictures': [str(path) for path in pictures]}, args.json)


if __name__ == '__main__':
    run(main)
