"""Arrange some dozens of real pictures as the configs want them, for the small runs of benchmarks/tasks.py.

--samples holds any of camvid_subset, coco_100_100, aerial_samples, acdc_subset, cvc_clinicdb_subset (docs/tasks.md says
what is in them). --out gets data/NAME in the layout of docs/prepare_data.md: links where the files fit as they are. The
one Potsdam tile is cut into four, of which the last is for validation; iSAID's three pictures into patches; ACDC's
hearts are written once more in Synapse's form.
"""
import argparse
import shutil
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path

import h5py
import numpy as np
from mmseg.datasets import iSAIDDataset
from PIL import Image
from shared import present

from cait_mm.config.cli import add_json_option, output_folder, report, run
from cait_mm.errors import UserError
from cait_mm.utils.pictures import FORMATS, read_picture


def link(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)  # refuses to remove a folder
    target.symlink_to(source)


def patches(picture: np.ndarray, side: int) -> Iterator[tuple[str, Image.Image]]:
    """Squares side by side, the last ones at the border, each with its place, TOP_LEFT."""
    tops, lefts = (sorted({*range(0, length - side, side), length - side}) for length in picture.shape[:2])
    for top, left in product(tops, lefts):
        yield f'{top}_{left}', Image.fromarray(picture[top:top + side, left:left + side])


def save(patch: Image.Image, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    patch.save(path)


def potsdam(source: Path, target: Path) -> None:
    """Quarters of the one tile: three to train on, the lower right one to validate on."""
    for path in source.glob('potsdam/*_dir/*.png'):
        for place, patch in patches(np.array(Image.open(path, formats=FORMATS)), 256):
            split = 'val' if place == '256_256' else 'train'
            save(patch, target / path.parent.name / split / f'{path.stem}_{place}.png')


def isaid(source: Path, target: Path) -> None:
    """Patches; colours become class ids, as MMSegmentation's converter does it."""
    suffix = '_instance_color_RGB.png'
    for path in source.glob(f'isaid/*/*{suffix}'):
        split, name, colours = path.parent.name, path.name.removesuffix(suffix), read_picture(path)
        labels = np.full(colours.shape[:2], 255, np.uint8)
        for index, colour in enumerate(iSAIDDataset.METAINFO['palette']):
            labels[(colours == colour).all(-1)] = index
        for place, patch in patches(read_picture(path.with_name(f'{name}.png')), 448):
            save(patch, target / 'img_dir' / split / f'{name}_{place}.png')
        for place, patch in patches(labels, 448):
            save(patch, target / 'ann_dir' / split / f'{name}_{place}{suffix}')


def synapse(source: Path, target: Path) -> None:
    """The same hearts as ``.npz`` slices and ``.npy.h5`` volumes: its readers on real data, not its organs."""
    slices, volumes = target / 'train_npz', target / 'test_vol_h5'
    for folder in (slices, volumes):
        folder.mkdir(parents=True)
    for path in source.glob('*/*.h5'):  # train_slices/, test_volumes/
        patient, frame, *number = path.stem.split('_')
        case = f'case{int(patient[7:]) * 100 + int(frame[5:]):05d}'
        with h5py.File(path) as file:
            arrays = {name: file[name][:] for name in ('image', 'label')}
        if number:
            np.savez(slices / f'{case}_slice{int(number[-1]):03d}.npz', **arrays)
        else:
            with h5py.File(volumes / f'{case}.npy.h5', 'w') as copy:
                copy.update(arrays)


SPLITS = ('train2017', 'val2017')
ARRANGED: dict[str, tuple[str, Callable[[Path, Path], None]]] = {
    **{name: (f'{name}_subset', link) for name in ('camvid', 'acdc', 'cvc_clinicdb')},
    **{f'coco/{split}': (f'coco_100_100/images/{split}', link) for split in SPLITS},
    **{f'coco/semantic/{split}': (f'coco_100_100/semantic_masks/{split}', link) for split in SPLITS},
    **{f'coco/annotations/instances_{split}.json': (f'coco_100_100/annotations/instances_{split}_100.json', link)
       for split in SPLITS},
    'potsdam': ('aerial_samples', potsdam),
    'iSAID': ('aerial_samples', isaid),
    'synapse': ('acdc_subset', synapse),
}
"""Places in data/, the samples that they come from, and how."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--samples', type=present, required=True)
    parser.add_argument('--out', type=output_folder, default='work_dirs/benchmark_tasks')
    add_json_option(parser)
    args = parser.parse_args()
    data, arranged = args.out.resolve() / 'data', []
    for name, (sample, arrange) in ARRANGED.items():
        if (args.samples / sample).exists():
            if arrange is not link:
                shutil.rmtree(data / name, ignore_errors=True)
            arrange(args.samples / sample, data / name)
            arranged.append(name)
    if not arranged:
        raise UserError(f'{args.samples} holds no samples that are known here: name the folder above them.')
    report(f'{", ".join(arranged)} arranged in {data}.', {'arranged': arranged, 'data': str(data)}, args.json)


if __name__ == '__main__':
    run(main)
