"""Images to tune on: every batch follows from the seed and its step."""
import numpy as np
import pytest
import torch
from PIL import Image

from cait_mm.utils.draws import Draws, draws_of, order


def test_the_order_follows_from_the_seed_and_visits_everything_once_an_epoch():
    assert sorted(order(9, 0, 1)) == [*range(9)] and order(9, 0, 1) == order(9, 0, 1)
    assert order(9, 0, 1) != order(9, 0, 2) and order(9, 0, 1) != order(9, 1, 1)


def test_every_image_is_drawn_once_an_epoch_or_held_out():
    items = [torch.full((3, 8, 8), float(index)) for index in range(40)]
    draws = Draws(items, 8, batch_size=5, seed=1)
    held = torch.cat(draws.held_out)[:, 0, 0, 0].tolist()
    assert len(draws) == 36 and len(held) == 4
    drawn = torch.cat([draws(step) for step in range(8)])[:, 0, 0, 0].tolist()
    assert sorted(held + drawn[:36]) == [*range(40)] and len({*drawn[36:]}) == 4, 'the next epoch follows at once'
    again = Draws(items, 8, batch_size=5, seed=1)
    assert torch.equal(draws(3), again(3)) and not torch.equal(draws(3), Draws(items, 8, 5, seed=2)(3))


@pytest.fixture
def folder(tmp_path):
    chance = np.random.default_rng(0)
    for index in range(20):
        Image.fromarray(chance.integers(0, 255, (40, 50, 3), dtype=np.uint8)).save(tmp_path / f'{index}.png')
    return tmp_path


def test_pictures_are_cropped_at_random_and_as_a_test_does_where_they_are_held_out(folder):
    draws = draws_of(folder, 32, steps=3, batch_size=4)
    assert len(draws) == 18 and draws.held_out[0].shape == (2, 3, 32, 32)
    once = [draws(step) for step in (0, 1, 2)]
    torch.rand(5)
    assert torch.equal(draws(1), once[1]) and once[0].shape == (4, 3, 32, 32) and not torch.equal(once[0], once[1])


def test_of_a_loader_no_more_is_read_than_the_steps_use():
    def endless():
        while True:
            yield torch.randn(64, 3, 8, 8), torch.zeros(64)

    draws = draws_of(endless(), 8, steps=3, batch_size=16)
    assert len(draws) >= 3 * 16 and sum(map(len, draws.held_out)) + len(draws) <= 256
