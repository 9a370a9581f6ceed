"""Arrange some dozens of real pictures as the configs want them, for the small runs of benchmarks/tasks.py.

--samples holds any of camvid_subset, coco_100_100, aerial_samples, acdc_subset, cvc_clinicdb_subset (docs/tasks.md says
what is in them). --out gets data/NAME in the layout of docs/prepare_data.md: links where the files fit as they are. The
one Potsdam tile is cut into four, of which the last is for validation; iSAID's three pictures into patches; ACDC's
hearts are written once more in Synapse's form.
"""
import argparse
import shutil
from pathlib import Path

import h5py
import numpy as np
from mmseg.datasets import iSAIDDataset
from PIL import Image

from cait_mm.config.cli import add_json_option, output_folder, report, run
from cait_mm.errors import UserError
from cait_mm.utils.pictures import FORMATS, read_picture

POTSDAM_SIDE, ISAID_SIDE = 256, 448
LINKS = {'camvid': 'camvid_subset', 'acdc': 'acdc_subset', 'cvc_clinicdb': 'cvc_clinicdb_subset'}
for _split in ('train2017', 'val2017'):
    LINKS |= {f'coco/{_split}': f'coco_100_100/images/{_split}',
              f'coco/semantic/{_split}': f'coco_100_100/semantic_masks/{_split}',
              f'coco/annotations/instances_{_split}.json': f'coco_100_100/annotations/instances_{_split}_100.json'}
"""Places in data/, and the samples that they lead to."""


def save_patches(picture: np.ndarray, side: int, folder: Path, name: str) -> None:
    """Cut a picture into squares side by side, the last ones at the border."""
    tops, lefts = (sorted({*range(0, length - side, side), length - side}) for length in picture.shape[:2])
    folder.mkdir(parents=True, exist_ok=True)
    for top in tops:
        for left in lefts:
            patch = Image.fromarray(picture[top:top + side, left:left + side])
            patch.save(folder / name.format(f'{top}_{left}'))


def potsdam(source: Path, target: Path) -> None:
    """Quarters of the one tile: three to train on, the lower right one to validate on."""
    for kind in ('img_dir', 'ann_dir'):
        for path in sorted((source / 'potsdam' / kind).glob('*.png')):
            tile = np.array(Image.open(path, formats=FORMATS))
            save_patches(tile, POTSDAM_SIDE, target / kind / 'train', f'{path.stem}_{{}}.png')
            last = f'{path.stem}_{POTSDAM_SIDE}_{POTSDAM_SIDE}.png'
            (target / kind / 'val').mkdir(exist_ok=True)
            (target / kind / 'train' / last).rename(target / kind / 'val' / last)


def isaid(source: Path, target: Path) -> None:
    """Patches; colours become class ids, as MMSegmentation's converter does it."""
    suffix = '_instance_color_RGB.png'
    for split in ('train', 'val'):
        for path in sorted((source / 'isaid' / split).glob(f'*{suffix}')):
            name, colours = path.name[:-len(suffix)], read_picture(path)
            labels = np.full(colours.shape[:2], 255, np.uint8)
            for index, colour in enumerate(iSAIDDataset.METAINFO['palette']):
                labels[(colours == colour).all(-1)] = index
            picture = read_picture(path.parent / f'{name}.png')
            save_patches(picture, ISAID_SIDE, target / 'img_dir' / split, f'{name}_{{}}.png')
            save_patches(labels, ISAID_SIDE, target / 'ann_dir' / split, f'{name}_{{}}{suffix}')


def synapse(source: Path, target: Path) -> None:
    """The same hearts as ``.npz`` slices and ``.npy.h5`` volumes: its readers on real data, not its organs."""
    slices, volumes = target / 'train_npz', target / 'test_vol_h5'
    slices.mkdir(parents=True)
    volumes.mkdir()
    for path in sorted([*source.glob('train_slices/*.h5'), *source.glob('test_volumes/*.h5')]):
        patient, frame, *number = path.stem.split('_')
        case = f'case{int(patient[7:]) * 100 + int(frame[5:]):05d}'
        with h5py.File(path) as file:
            arrays = {name: file[name][:] for name in ('image', 'label')}
        if number:
            np.savez(slices / f'{case}_slice{int(number[-1]):03d}.npz', **arrays)
            continue
        with h5py.File(volumes / f'{case}.npy.h5', 'w') as copy:
            for name, values in arrays.items():
                copy[name] = values


MADE = {'potsdam': ('aerial_samples', potsdam), 'iSAID': ('aerial_samples', isaid), 'synapse': ('acdc_subset', synapse)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--samples', type=Path, required=True)
    parser.add_argument('--out', type=output_folder, default='work_dirs/benchmark_tasks')
    add_json_option(parser)
    args = parser.parse_args()
    samples, data = args.samples.resolve(), args.out.resolve() / 'data'
    found = []
    for name, source in LINKS.items():
        if (samples / source).exists():
            (data / name).parent.mkdir(parents=True, exist_ok=True)
            (data / name).unlink(missing_ok=True)
            (data / name).symlink_to(samples / source)
            found.append(name)
    for name, (source, make) in MADE.items():
        if (samples / source).is_dir():
            shutil.rmtree(data / name, ignore_errors=True)
            make(samples / source, data / name)
            found.append(name)
    if not found:
        raise UserError(f'{samples} holds no samples that are known here: name the folder above them.')
    report(f'{", ".join(found)} arranged in {data}.', {'found': found, 'data': str(data)}, args.json)


if __name__ == '__main__':
    run(main)
