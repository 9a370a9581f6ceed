"""Unlabelled images to tune on: seed and step determine a batch, and some images are held out."""
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from timm.data import create_transform
from torch import Tensor

from cait_mm.errors import UserError
from cait_mm.utils.images import as_batches, find_images, load_batches
from cait_mm.utils.pictures import read_image
from cait_mm.utils.seeding import ORDER, SAMPLES, OwnRandomness, seed_of

MOST_HELD_OUT = 128


def order(count: int, seed: int, epoch: int) -> list[int]:
    """The numbers below ``count`` in the order of an epoch."""
    return torch.randperm(count, generator=torch.Generator().manual_seed(seed_of(ORDER, seed, epoch))).tolist()


class Draws:
    """A function from a step to its batch (B, C, H, W); epochs follow each other without a gap.

    Pictures from files are cropped at random (to at least half of the area) and flipped, tensors are only flipped.

    Args:
        items: Paths, or tensors (C, H, W) of one size.
        size: Pixels of the crops.
        batch_size: Images in a batch.
        seed: Determines the order, the crops and the images that are held out (a tenth, at most
            :data:`MOST_HELD_OUT`).

    Attributes:
        held_out: Batches that are never drawn; their pictures are not augmented.
    """

    def __init__(self, items: Sequence[Path] | Sequence[Tensor], size: int | tuple[int, int], batch_size: int = 32,
                 seed: int = 0) -> None:
        mixed = [items[index] for index in order(len(items), seed, 0)]
        count = min(len(mixed) // 10, MOST_HELD_OUT)
        self.kept, held = mixed[count:], mixed[:count]
        self.batch_size, self.seed = batch_size, seed
        self.transform = create_transform(size, is_training=True, scale=(0.5, 1.), color_jitter=0., auto_augment=None,
                                          interpolation='bicubic')
        if held and isinstance(held[0], Tensor):
            self.held_out = [torch.stack(held[i:i + batch_size]) for i in range(0, count, batch_size)]
        else:
            self.held_out = list(load_batches(held, size, batch_size))

    def __len__(self) -> int:
        """Images that are drawn from."""
        return len(self.kept)

    def __call__(self, step: int) -> Tensor:
        places = [divmod(place, len(self)) for place in range(step * self.batch_size, (step + 1) * self.batch_size)]
        orders = {epoch: order(len(self), self.seed, epoch + 1) for epoch, _ in places}
        with OwnRandomness(SAMPLES, self.seed, step):
            return torch.stack([self._changed(self.kept[orders[epoch][place]]) for epoch, place in places])

    def _changed(self, item: str | Tensor) -> Tensor:
        if isinstance(item, Tensor):
            return item.flip(-1) if torch.rand(()) < 0.5 else item
        return self.transform(read_image(item))


def draws_of(images: Any, size: int | tuple[int, int], steps: int, batch_size: int = 32, seed: int = 0) -> Draws:
    """Draws from any argument of :func:`~cait_mm.utils.images.as_batches`: from all images of a folder, or from as many
    tensors as ``steps`` can use.

    Raises:
        UserError: There are no images, something is no image, or tensors have several sizes.
    """
    if isinstance(images, (str, Path)):
        return Draws(find_images(images), size, batch_size, seed)
    most = batch_size * steps + MOST_HELD_OUT
    items = [image for batch in as_batches(images, size, most) for image in batch]
    if len({image.shape for image in items}) > 1:
        raise UserError('`images`: tuning needs tensors of one size; give a folder, or resize them.')
    return Draws(items, size, batch_size, seed)
