"""Repeated augmentation, and batches that a resumed run repeats exactly."""
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from mmengine.dist import get_dist_info, get_rank
from mmengine.registry import DATA_SAMPLERS
from timm.data.distributed_sampler import RepeatAugSampler as TimmRepeatAugSampler
from torch.utils.data import BatchSampler, Sampler

from cait_mm.utils.seeding import ORDER, SAMPLES, OwnRandomness, seed_cpu


@DATA_SAMPLERS.register_module()
class RepeatAugSampler(TimmRepeatAugSampler):
    """timm's repeated augmentation for MMEngine's loader: an image occurs ``num_repeats`` times, augmented differently.

    An epoch still has as many items as the dataset, so with three repeats it covers a third of the images.

    Args:
        dataset: The dataset.
        num_repeats: How often an image occurs.
        seed: The seed of MMEngine, which together with the epoch determines the order.
    """

    def __init__(self, dataset: Any, num_repeats: int = 3, seed: int = 0) -> None:
        rank, world = get_dist_info()
        super().__init__(dataset, num_replicas=world, rank=rank, num_repeats=num_repeats)
        self.seed = seed or 0
        self.set_epoch(0)

    def set_epoch(self, epoch: int) -> None:
        """Shuffle again; called before every epoch."""
        super().set_epoch(self.seed + epoch)


class SeededBatch:
    """The indices of a batch; iterating over them seeds the generators before each sample is loaded.

    The process that loads a batch iterates over it while loading, so augmentation depends only on the place of a sample
    in the run: not on the number of processes, on prefetching, or on earlier batches.

    Args:
        indices: The indices of the items to load.
        key: The batch's place in the run, see :func:`cait_mm.utils.seeding.seed_of`.
    """

    def __init__(self, indices: Sequence[Any], key: Sequence[int]) -> None:
        self.indices, self.key = list(indices), tuple(key)

    def __len__(self) -> int:
        return len(self.indices)

    def __iter__(self) -> Iterator[Any]:
        for place, index in enumerate(self.indices):
            seed_cpu(*self.key, place)
            yield index


@DATA_SAMPLERS.register_module()
class SeededBatchSampler(Sampler):
    """Batches of another sampler as :class:`SeededBatch`; it can start after batches that are done already.

    The skipped batches are drawn but not loaded, so this works with every sampler that draws from its own seed or from
    the generators of the process.

    Args:
        sampler: Yields indices.
        batch_size: Images of a batch.
        seed: The seed of the run.
        drop_last: Leave out an incomplete batch at the end.
        batch_sampler: The config of another batch sampler, for example MMDetection's ``AspectRatioBatchSampler``.
    """

    def __init__(self, sampler: Sampler, batch_size: int, seed: int = 0, drop_last: bool = False,
                 batch_sampler: Mapping[str, Any] | None = None) -> None:
        self.sampler, self.batch_size, self.seed = sampler, batch_size, seed
        if batch_sampler is None:
            self.batches = BatchSampler(sampler, batch_size, drop_last)
        else:
            self.batches = DATA_SAMPLERS.build(
                batch_sampler, default_args=dict(sampler=sampler, batch_size=batch_size))
        self.epoch = 0
        self._ready: tuple[OwnRandomness, Iterator[Sequence[Any]], int] | None = None

    def start_at(self, epoch: int, batch: int) -> int:
        """Make the next iteration that of ``epoch``, from its batch number ``batch`` on.

        Returns:
            The number of batches that were skipped; fewer than ``batch`` if the epoch has fewer.
        """
        self.epoch = epoch
        order = OwnRandomness(ORDER, self.seed, epoch)
        with order:
            batches = iter(self.batches)
            passed = sum(1 for _ in islice(batches, batch))
        self._ready = order, batches, passed
        return passed

    def __len__(self) -> int:
        """The number of batches of an epoch, including skipped ones."""
        return len(self.batches)

    def __iter__(self) -> Iterator[SeededBatch]:
        if self._ready is None:
            self.start_at(self.epoch, 0)
        (order, batches, number), self._ready = self._ready, None
        key = SAMPLES, self.seed, get_rank(), self.epoch
        while True:
            with order:
                indices = next(batches, None)
            if indices is None:
                return
            yield SeededBatch(indices, (*key, number))
            number += 1


def with_seeded_batches(loader: Mapping[str, Any], seed: int) -> Mapping[str, Any]:
    """A loader's config with its batches in a :class:`SeededBatchSampler`.

    Loaders whose sampler or batch sampler is an object already, and those without batches, are returned unchanged.
    """
    inner = loader.get('batch_sampler')
    if not isinstance(loader.get('sampler'), Mapping) or loader.get('batch_size', 1) is None:
        return loader
    if inner is not None and not isinstance(inner, Mapping):
        return loader
    loader = dict(loader)
    drop_last = loader.pop('drop_last', False) if inner is None else False
    return dict(loader, batch_size=loader.get('batch_size', 1), batch_sampler=dict(
        type=SeededBatchSampler, seed=seed, drop_last=drop_last, batch_sampler=inner))


def endless(loader: Any, done: int) -> Iterator[Any]:
    """An endless stream of batches after the first ``done``, which are not loaded; epochs follow each other.

    Args:
        loader: A ``DataLoader``.
        done: The number of batches that are done.

    Raises:
        ValueError: The loader yields no batch.
    """
    epoch, batches = 0, loader.batch_sampler
    seeded = isinstance(batches, SeededBatchSampler)
    while True:
        if hasattr(getattr(batches, 'sampler', None), 'set_epoch'):
            batches.sampler.set_epoch(epoch)
        passed = batches.start_at(epoch, done) if seeded else 0
        count = 0
        if passed == done or not seeded:
            for count, batch in enumerate(loader, 1):
                if seeded or count > done:
                    yield batch
        if not passed and not count:
            raise ValueError('the loader of the training data yields no batch.')
        done -= passed if seeded else min(done, count)
        epoch += 1
