"""Pictures for a report, as a config's test pipeline makes them: with their labels where there are any."""
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mmengine.config import Config
from mmengine.dataset import Compose, pseudo_collate
from PIL import Image
from torch import Tensor

from cait_mm.compression.images import covering, load_crops, picture_at
from cait_mm.datasets.build import build_dataset
from cait_mm.datasets.check_files import datasets_of, missing_data
from cait_mm.datasets.unlabelled import without_labels
from cait_mm.errors import UserError
from cait_mm.utils.images import spread

LOADERS = ('val_dataloader', 'test_dataloader')


def labelled(config: Config, count: int) -> tuple[list[Any], dict[str, Any]] | None:
    """``count`` inputs of ``model.test_step`` from the config's validation split, or test split, and its ``metainfo``;
    None if neither is on this disk.
    """
    for loader in LOADERS:
        if not config.get(loader) or missing_data(config, (loader, )):
            continue
        dataset = build_dataset(config[loader].dataset, config)
        chosen = spread(range(len(dataset)), count)
        return [pseudo_collate([dataset[index]]) for index in chosen], dict(getattr(dataset, 'metainfo', None) or {})
    return None


def unlabelled(config: Config, paths: Sequence[str]) -> Iterator[Any]:
    """Inputs of ``model.test_step`` from pictures.

    Raises:
        UserError: The config has no test pipeline.
    """
    nodes = [node for loader in LOADERS for node in datasets_of((config.get(loader) or {}).get('dataset'))]
    pipeline = next((node['pipeline'] for node in nodes if 'pipeline' in node), None)
    if pipeline is None:
        raise UserError('the config has no val_dataloader with a pipeline for pictures.')
    transform = Compose(without_labels(pipeline))
    for index, path in enumerate(paths):
        yield pseudo_collate([transform(dict(img_path=str(path), img_id=index, seg_fields=[], instances=[]))])


def shown_crop(config: Mapping[str, Any], path: str, size: tuple[int, int]) -> tuple[Image.Image, Tensor]:
    """The middle of a picture as the config's model takes it."""
    image = next(iter(load_crops(config, [path], size)))
    return Image.fromarray(covering(picture_at(path), size)), image
