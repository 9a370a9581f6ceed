"""Batches of a resumed run are those that would have come, whatever samples them, and nothing is loaded before them."""
import random
from itertools import islice
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.dataset import DefaultSampler, InfiniteSampler
from mmengine.dataset.utils import pseudo_collate
from torch.utils.data import BatchSampler, DataLoader, Dataset, Sampler

from cait_mm.datasets.samplers import RepeatAugSampler, SeededBatchSampler, endless, with_seeded_batches
from cait_mm.engine.runner import CheckedRunner
from cait_mm.utils.seeding import OwnRandomness, seed_cpu


class Noisy(Dataset):
    """Items with their index and a draw of each generator, in two groups of sizes for MMDetection's samplers."""

    metainfo = dict(classes=('a', 'b', 'c'))

    def __len__(self) -> int:
        return 23

    def __getitem__(self, index: int) -> dict:
        return dict(index=int(index), drawn=(random.random(), np.random.rand(), torch.rand(()).item()))

    def get_data_info(self, index: int) -> dict:
        return dict(width=2 if index % 3 else 1, height=1 if index % 3 else 2)

    def get_cat_ids(self, index: int) -> list:
        return [index % 3]


class Moody(Sampler):
    """Draws from the process's own generators while it is asked, as MMDetection's GroupMultiSourceSampler does."""

    def __init__(self, dataset: Dataset, seed: int = 0) -> None:
        self.dataset = dataset

    def __iter__(self):
        while True:
            yield np.random.randint(12) + random.randrange(6) + int(torch.randint(6, ()))

    def __len__(self) -> int:
        return 23


def loader(sampler, batch_sampler=None, workers: int = 0, drop_last: bool = False) -> DataLoader:
    dataset = Noisy()
    batches = SeededBatchSampler(sampler(dataset), 4, seed=5, drop_last=drop_last, batch_sampler=batch_sampler)
    return DataLoader(dataset, batch_sampler=batches, num_workers=workers, collate_fn=pseudo_collate,
                      persistent_workers=workers > 0)


def take(loader: DataLoader, done: int, count: int) -> list:
    batches = []
    for batch in islice(endless(loader, done), count):
        batches.append((batch['index'], batch['drawn']))
        torch.rand(3), np.random.rand(), random.random()  # training draws in between
    return batches


SAMPLERS = {
    'infinite': (lambda data: InfiniteSampler(data, seed=3), None, False),
    'finite': (lambda data: DefaultSampler(data, seed=3), None, False),
    'without the rest': (lambda data: DefaultSampler(data, seed=3), None, True),
    'repeated': (lambda data: RepeatAugSampler(data, seed=3), None, False),
    'in order': (lambda data: DefaultSampler(data, shuffle=False), None, False),
    'moody': (Moody, None, False),
    'by ratio': (lambda data: DefaultSampler(data, seed=3), dict(type='mmdet.AspectRatioBatchSampler'), False),
    'by class': ('ClassAwareSampler', None, False),
}


def of(name: str, workers: int = 0) -> DataLoader:
    sampler, batch_sampler, drop_last = SAMPLERS[name]
    if batch_sampler or sampler == 'ClassAwareSampler':
        samplers = pytest.importorskip('mmdet.datasets.samplers')
        if sampler == 'ClassAwareSampler':
            return loader(lambda data: samplers.ClassAwareSampler(data, seed=3), None, workers)
        batch_sampler = dict(type=samplers.AspectRatioBatchSampler)
    return loader(sampler, batch_sampler, workers, drop_last)


@pytest.mark.parametrize('name', SAMPLERS)
def test_the_next_batches_are_those_that_would_have_come(name):
    whole = take(of(name), 0, 20)
    assert len({str(drawn) for _, drawn in whole}) == 20, 'every batch is augmented differently'
    for done in (1, 5, 6, 13):
        seed_cpu(done)  # earlier draws of the process do not matter
        assert take(of(name), done, 20 - done) == whole[done:]
    assert take(of(name, workers=2), 4, 9) == whole[4:13], 'nor does the number of processes'


def test_indices_are_the_samplers_own():
    """Against MMEngine's sampler and PyTorch's batches, put together by hand."""
    wanted = []
    for epoch in range(4):
        sampler = DefaultSampler(Noisy(), seed=3)
        sampler.set_epoch(epoch)
        wanted += list(BatchSampler(sampler, 4, False))
    assert [indices for indices, _ in take(of('finite'), 0, 24)] == wanted
    endless_one = BatchSampler(InfiniteSampler(Noisy(), seed=3), 4, False)
    assert [indices for indices, _ in take(of('infinite'), 7, 5)] == list(islice(endless_one, 12))[7:]


def test_past_samples_are_not_loaded(monkeypatch):
    asked, real = [], Noisy.__getitem__
    monkeypatch.setattr(Noisy, '__getitem__', lambda self, index: (asked.append(int(index)), real(self, index))[1])
    take(of('finite'), 14, 2)
    assert len(asked) == 8


def test_two_processes_share_the_order_and_not_the_augmentation(monkeypatch):
    import cait_mm.datasets.samplers as module
    of_rank = []
    for rank in (0, 1):
        monkeypatch.setattr(module, 'get_rank', lambda rank=rank: rank)
        monkeypatch.setattr('mmengine.dataset.sampler.get_dist_info', lambda rank=rank: (rank, 2))
        of_rank.append(take(of('infinite'), 3, 3))
    indices = [[index for batch, _ in batches for index in batch] for batches in of_rank]
    both = [index for pair in zip(*indices) for index in pair]
    assert both == list(islice(InfiniteSampler(Noisy(), seed=3)._infinite_indices(), 48))[24:]
    assert not {draw for _, batch in of_rank[0] for draw in batch} & {draw for _, batch in of_rank[1] for draw in batch}


def test_a_loader_of_nothing_is_an_error():
    empty = DataLoader(Noisy(), batch_sampler=SeededBatchSampler(torch.utils.data.SequentialSampler([]), 4))
    with pytest.raises(ValueError, match='yields no batch'):
        next(endless(empty, 0))
    with pytest.raises(ValueError, match='yields no batch'):
        next(endless(empty, 3))


def test_batches_of_unknown_kind_are_passed_over_one_by_one():
    plain = DataLoader(Noisy(), batch_size=4, collate_fn=pseudo_collate)
    assert [batch['index'] for batch in islice(endless(plain, 7), 2)] == [[4, 5, 6, 7], [8, 9, 10, 11]]


def test_draws_in_a_context_of_its_own_are_not_seen_outside():
    seed_cpu(1)
    wanted = [(random.random(), np.random.rand(), torch.rand(()).item()) for _ in range(2)]
    seed_cpu(1)
    own, inside = OwnRandomness(7), []
    for number in range(2):
        with own:
            inside.append((random.random(), np.random.rand(), torch.rand(()).item()))
        assert (random.random(), np.random.rand(), torch.rand(()).item()) == wanted[number]
    seed_cpu(7)
    assert inside == [(random.random(), np.random.rand(), torch.rand(()).item()) for _ in range(2)]


@pytest.mark.parametrize('config', [
    dict(batch_size=None, sampler=dict(type='DefaultSampler')), dict(batch_size=2, sampler=None),
    dict(batch_size=2, sampler=dict(type='DefaultSampler'), batch_sampler=SimpleNamespace()),
])
def test_loaders_without_batches_of_a_sampler_stay_as_they_are(config):
    assert with_seeded_batches(config, 0) is config


def test_a_runner_builds_every_loader_so_and_one_order_for_all_ranks(monkeypatch):
    config = dict(dataset=Noisy(), batch_size=4, drop_last=True, sampler=dict(type='InfiniteSampler'))
    monkeypatch.setattr('cait_mm.engine.runner.get_rank', lambda: 1)
    built = [CheckedRunner.build_dataloader(config, seed=seed, diff_rank_seed=different)
             for seed, different in ((5, False), (6, True))]
    assert all(isinstance(item.batch_sampler, SeededBatchSampler) and item.batch_sampler.sampler.seed == 5
               for item in built)
    assert len(built[0]) == 5 and list(built[0].batch_sampler.batches.sampler.dataset[0]) == ['index', 'drawn']
