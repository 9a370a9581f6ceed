"""Arrange some dozens of real pictures as the configs want them, for the small runs of tools/evidence/tasks.py.

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

from cait_mm.config.cli import add_json_option, report, run
from cait_mm.errors import UserError
from cait_mm.utils.pictures import FORMATS, read_picture

POTSDAM_SIDE, ISAID_SIDE = 256, 448


def link(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    target.symlink_to(source)


def save(array: np.ndarray, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


def camvid(samples: Path, data: Path) -> None:
    link(samples / 'camvid_subset', data / 'camvid')


def coco(samples: Path, data: Path) -> None:
    source, target = samples / 'coco_100_100', data / 'coco'
    for split in ('train2017', 'val2017'):
        link(source / 'images' / split, target / split)
        link(source / 'semantic_masks' / split, target / 'semantic' / split)
        link(source / 'annotations' / f'instances_{split}_100.json', target / 'annotations' / f'instances_{split}.json')


def potsdam(samples: Path, data: Path) -> None:
    """Quarters of the one tile: three to train on, the lower right one to validate on."""
    for kind in ('img_dir', 'ann_dir'):
        for path in sorted((samples / 'aerial_samples/potsdam' / kind).glob('*.png')):
            tile = np.array(Image.open(path, formats=FORMATS))
            for top in range(0, len(tile), POTSDAM_SIDE):
                for left in range(0, len(tile), POTSDAM_SIDE):
                    split = 'val' if top and left else 'train'
                    part = tile[top:top + POTSDAM_SIDE, left:left + POTSDAM_SIDE]
                    save(part, data / 'potsdam' / kind / split / f'{path.stem}_{top}_{left}.png')


def starts(side: int) -> list[int]:
    """Where iSAID's patches begin: side by side, the last one at the border."""
    return sorted({*range(0, side - ISAID_SIDE, ISAID_SIDE), side - ISAID_SIDE})


def isaid(samples: Path, data: Path) -> None:
    """Patches; colours become class ids, as MMSegmentation's converter does it."""
    palette = iSAIDDataset.METAINFO['palette']
    suffix = '_instance_color_RGB.png'
    for split in ('train', 'val'):
        for path in sorted((samples / 'aerial_samples/isaid' / split).glob(f'*{suffix}')):
            name = path.name[:-len(suffix)]
            colours, picture = read_picture(path), read_picture(path.parent / f'{name}.png')
            labels = np.full(colours.shape[:2], 255, np.uint8)
            for index, colour in enumerate(palette):
                labels[(colours == colour).all(-1)] = index
            for top in starts(labels.shape[0]):
                for left in starts(labels.shape[1]):
                    stem = f'{name}_{top}_{left}'
                    place = (slice(top, top + ISAID_SIDE), slice(left, left + ISAID_SIDE))
                    save(picture[place], data / 'iSAID/img_dir' / split / f'{stem}.png')
                    save(labels[place], data / 'iSAID/ann_dir' / split / f'{stem}{suffix}')


def acdc(samples: Path, data: Path) -> None:
    link(samples / 'acdc_subset', data / 'acdc')


def synapse(samples: Path, data: Path) -> None:
    """The same hearts as ``.npz`` slices and ``.npy.h5`` volumes: its readers on real data, not its organs."""
    source, target = samples / 'acdc_subset', data / 'synapse'
    (target / 'train_npz').mkdir(parents=True, exist_ok=True)
    (target / 'test_vol_h5').mkdir(parents=True, exist_ok=True)
    for path in sorted((source / 'train_slices').glob('*.h5')):
        patient, frame, _, number = path.stem.split('_')
        case = f'case{int(patient[7:]) * 100 + int(frame[5:]):05d}'
        with h5py.File(path) as file:
            np.savez(target / 'train_npz' / f'{case}_slice{int(number):03d}.npz', image=file['image'][:],
                     label=file['label'][:])
    for path in sorted((source / 'test_volumes').glob('*.h5')):
        patient, frame = path.stem.split('_')[:2]
        case = f'case{int(patient[7:]) * 100 + int(frame[5:]):05d}'
        with h5py.File(path) as file, h5py.File(target / 'test_vol_h5' / f'{case}.npy.h5', 'w') as copy:
            copy['image'], copy['label'] = file['image'][:], file['label'][:]


def polyp(samples: Path, data: Path) -> None:
    link(samples / 'cvc_clinicdb_subset', data / 'cvc_clinicdb')


ARRANGE = {'camvid_subset': (camvid, ), 'coco_100_100': (coco, ), 'aerial_samples': (potsdam, isaid),
           'acdc_subset': (acdc, synapse), 'cvc_clinicdb_subset': (polyp, )}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--samples', type=Path, required=True)
    parser.add_argument('--out', type=Path, default=Path('work_dirs/evidence_tasks'))
    add_json_option(parser)
    args = parser.parse_args()
    samples, data = args.samples.resolve(), args.out.resolve() / 'data'
    found = [name for name in ARRANGE if (samples / name).is_dir()]
    if not found:
        raise UserError(f'{samples} holds none of {", ".join(ARRANGE)}: name the folder above them.')
    for name in ('potsdam', 'iSAID', 'synapse'):
        shutil.rmtree(data / name, ignore_errors=True)
    for name in found:
        for arrange in ARRANGE[name]:
            arrange(samples, data)
    report(f'{", ".join(found)} arranged in {data}.', {'found': found, 'data': str(data)}, args.json)


if __name__ == '__main__':
    run(main)
