"""Repeated augmentation."""
from typing import Any

from mmengine.dist import get_dist_info
from mmengine.registry import DATA_SAMPLERS
from timm.data.distributed_sampler import RepeatAugSampler as TimmRepeatAugSampler


@DATA_SAMPLERS.register_module()
class RepeatAugSampler(TimmRepeatAugSampler):
    """timm's repeated augmentation for MMEngine's loader: an image comes ``num_repeats`` times, differently augmented.

    An epoch still counts as many images as the dataset has, so it sees a third of it with three repeats.

    Args:
        dataset: The dataset.
        num_repeats: How often an image comes.
        seed: MMEngine's; it decides the order together with the epoch.
    """

    def __init__(self, dataset: Any, num_repeats: int = 3, seed: int = 0) -> None:
        rank, world = get_dist_info()
        super().__init__(dataset, num_replicas=world, rank=rank, num_repeats=num_repeats)
        self.seed = seed or 0
        self.set_epoch(0)

    def set_epoch(self, epoch: int) -> None:
        """Shuffle anew; called before every epoch."""
        super().set_epoch(self.seed + epoch)
