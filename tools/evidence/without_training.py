"""Accuracy of a real DeiT with no training at all: mean-initialised merges, and calibrated cuts of channels.

Images need an ImageFolder-like layout with a list: --list FILE of "path index" lines, or --classes FILE of
"folder index ..." lines beside the folder of class folders. Every result is kept in OUT.json and not computed again.
"""
import argparse
import json
from collections import Counter
from pathlib import Path

import torch
from timm.data import create_transform
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from cait_mm.config.cli import add_json_option, parse_merges, positive, positive_int, report, run
from cait_mm.errors import UserError
from cait_mm.macs import classifier_cost
from cait_mm.models import Classifier, load_classifier
from cait_mm.pruning.compress import compress
from cait_mm.spec import Spec
from cait_mm.utils.files import write_json
from cait_mm.utils.images import find_images, load_batches
from cait_mm.utils.inputs import read_lines
from cait_mm.utils.pictures import read_image
from cait_mm.utils.tables import table

MERGES = ('', '7:horizontal,9:vertical', '4:vertical,7:horizontal', '4:horizontal,7:vertical',
          '3:horizontal,7:vertical,9:horizontal')


class ImageList(Dataset):
    """Images and their ImageNet indices, resized (bicubic) and cropped to 224."""

    def __init__(self, samples: list[tuple[Path, int]], crop_pct: float) -> None:
        self.samples = samples
        self.transform = create_transform(224, interpolation='bicubic', crop_pct=crop_pct)

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        path, label = self.samples[index]
        return self.transform(read_image(path)), label


def read_samples(root: Path, listing: Path | None, classes: Path | None) -> list[tuple[Path, int]]:
    """(path, ImageNet index) pairs of a list file or of class folders."""
    source = listing or classes
    if source is None or not source.is_file() or not root.is_dir():
        raise UserError(f'{root} with {source} is no labelled image set: give --images and --list or --classes.')
    pairs = [line.split()[:2] for line in read_lines(source)]
    if listing:
        return [(root / path, int(index)) for path, index in pairs]
    return [(path, int(index)) for folder, index in pairs for path in sorted((root / folder).rglob('*.JPEG'))]


def evaluate(model: Classifier, images: ImageList, only: list[int] | None, batch: int) -> float:
    """Top-1 in percent; ``only`` restricts the arg-max to these classes."""
    right = 0
    with torch.inference_mode():
        for inputs, labels in tqdm(DataLoader(images, batch_size=batch), leave=False):
            logits = model(inputs)
            choice = torch.tensor(only)[logits[:, only].argmax(1)] if only else logits.argmax(1)
            right += int((choice == labels).sum())
    return 100 * right / len(images)


def build(args: argparse.Namespace, variant: str) -> Classifier:
    """The model of a variant: ``MERGES`` alone, or ``MERGES@TARGET[/ALIGN]`` with a calibrated cut."""
    merges, _, cut = variant.partition('@')
    model = load_classifier(args.checkpoint, args.arch)
    merge = parse_merges(merges)
    if not cut:
        return load_classifier(args.checkpoint, args.arch, merge)
    if args.calibration is None:
        raise UserError(f'{variant} is a calibrated cut: give a folder of images with --calibration.')
    target, _, align = cut.partition('/')
    images = load_batches(find_images(args.calibration, args.calibration_images), model.spec.arch.img_size[0])
    return compress(model, images, float(target), merge, int(align or 1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--arch', default='deit_tiny')
    parser.add_argument('--checkpoint', required=True)
    parser.add_argument('--images', type=Path, required=True)
    parser.add_argument('--list', type=Path)
    parser.add_argument('--classes', type=Path, help='the arg-max is taken over these classes')
    parser.add_argument('--variants', nargs='+', default=MERGES, metavar='MERGES[@TARGET[/ALIGN]]',
                        help='merges, and after @ the reduction that a calibrated cut brings, widths in steps of ALIGN')
    parser.add_argument('--calibration', type=Path, metavar='DIR', help='images to calibrate cuts on')
    parser.add_argument('--calibration-images', type=positive_int, default=64)
    parser.add_argument('--per-class', type=positive_int, help='use only so many images of each class')
    parser.add_argument('--crop-pct', type=positive, default=224 / 256, help='1 resizes straight to 224')
    parser.add_argument('--batch-size', type=positive_int, default=50)
    parser.add_argument('--out', type=Path, required=True)
    add_json_option(parser)
    args = parser.parse_args()
    samples = read_samples(args.images, args.list, args.classes)
    if args.per_class:
        seen: Counter = Counter()
        samples = [sample for sample in samples if seen.update([sample[1]]) or seen[sample[1]] <= args.per_class]
    only = sorted({label for _, label in samples}) if args.classes else None
    done: dict[str, dict[str, float]] = json.loads(args.out.read_text()) if args.out.is_file() else {}
    rows, dense = [], classifier_cost(Spec.dense(args.arch)).macs
    for text in args.variants:
        if text not in done:
            model = build(args, text)
            cost = classifier_cost(model.backbone.spec)
            done[text] = {'macs': cost.macs, 'params': cost.params,
                          'top1': evaluate(model, ImageList(samples, args.crop_pct), only, args.batch_size)}
            write_json(args.out, done)
        found = done[text]
        rows.append([text or 'dense', f'{found["macs"] / 1e9:.3f}', f'{1 - found["macs"] / dense:.1%}',
                     f'{found["params"] / 1e6:.2f}', f'{found["top1"]:.2f}'])
    sheet = table(['merges (0-based) @ cut', 'GMACs', 'saved', 'params (M)', f'top-1 % of {len(samples)}'], rows)
    report(sheet, {text: done[text] for text in args.variants}, args.json)


if __name__ == '__main__':
    run(main)
