"""Draw the items of a config's dataset: pictures after augmentation, with their labels.

A look at them may save an hour of training on wrong labels.
"""
import _early  # noqa: F401  # isort: skip
import argparse
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import VISUALIZERS
from PIL import Image
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD

from cait_mm.analysis.figures import stacked
from cait_mm.config.cli import add_json_option, output_folder, positive_int, report, run
from cait_mm.config.load import building, load_config
from cait_mm.config.options import add_cfg_options, add_data_root_option
from cait_mm.datasets.build import build_dataset
from cait_mm.datasets.check_files import require_data
from cait_mm.datasets.images import ImageFolder
from cait_mm.datasets.root import move_data
from cait_mm.errors import UserError
from cait_mm.utils.images import spread


def label_size(sample: Any) -> tuple[int, int] | None:
    """Height and width of a sample's labels, which test pipelines do not resize with the picture."""
    if 'gt_sem_seg' in sample:
        return tuple(sample.gt_sem_seg.data.shape[-2:])
    if 'gt_instances' in sample and 'masks' in sample.gt_instances:
        return sample.gt_instances.masks.height, sample.gt_instances.masks.width
    return None


def draw_labels(item: Any, visualizer: Any, path: Path) -> None:
    """Draw a segmentation or detection item with the visualizer of its library."""
    picture = item['inputs'].permute(1, 2, 0).numpy()[..., ::-1]
    sample = item['data_samples']
    if 'gt_instances' in sample and hasattr(sample.gt_instances.bboxes, 'tensor'):
        sample.gt_instances.bboxes = sample.gt_instances.bboxes.tensor
    height, width = label_size(sample) or picture.shape[:2]
    picture = cv2.resize(np.ascontiguousarray(picture), (width, height))
    visualizer.add_datasample(path.stem, picture, sample, draw_gt=True, draw_pred=False, out_file=str(path))


def draw_class(item: Any, dataset: ImageFolder, transform: Config, path: Path) -> None:
    """Draw a classification item without normalisation, its class below."""
    mean, std = (torch.tensor(transform.get(key, default)).view(3, 1, 1)
                 for key, default in (('mean', IMAGENET_DEFAULT_MEAN), ('std', IMAGENET_DEFAULT_STD)))
    values = (item['inputs'] * std + mean).clamp(0, 1) * 255
    picture = Image.fromarray(values.byte().permute(1, 2, 0).numpy())
    stacked([picture], [str(dataset.metainfo['classes'][item['targets']])]).save(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config file')
    parser.add_argument('--split', choices=('train', 'val', 'test'), default='train')
    parser.add_argument('--number', type=positive_int, default=12, metavar='N',
                        help='number of pictures, evenly spread (default: 12)')
    parser.add_argument('--out', type=output_folder, metavar='DIR', help='default: shown/CONFIG_SPLIT')
    add_cfg_options(parser)
    add_data_root_option(parser)
    add_json_option(parser)
    args = parser.parse_args()
    config, loader = load_config(args.config, args.cfg_options), f'{args.split}_dataloader'
    if args.data_root is not None:
        move_data(config, args.data_root)
    if not config.get(loader):
        raise UserError(f'config {args.config} has no {loader}.')
    require_data(config, args.config, (loader, ))
    node = config[loader].dataset
    dataset = build_dataset(node, config)
    visualizer = None
    if not isinstance(dataset, ImageFolder):
        with building('the visualizer', config):
            visualizer = VISUALIZERS.build({**config.visualizer, 'name': 'browse', 'vis_backends': None})
        visualizer.dataset_meta = dataset.metainfo
    out = args.out or Path('shown', f'{Path(args.config).stem}_{args.split}')
    out.mkdir(parents=True, exist_ok=True)
    written = []
    for index in spread(range(len(dataset)), args.number):
        item, path = dataset[index], out / f'{index:06d}.png'
        if visualizer:
            draw_labels(item, visualizer, path)
        else:
            draw_class(item, dataset, node.get('transform') or {}, path)
        written.append(str(path))
    report(f'{len(written)} of {len(dataset)} items of the {args.split} split drawn into {out}.',
           {'items': len(dataset), 'pictures': written}, args.json)


if __name__ == '__main__':
    run(main)
