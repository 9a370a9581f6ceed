import pytest
import torch
from conftest import ROOT
from PIL import Image
from timm.data import create_transform
from timm.data.auto_augment import rand_augment_transform

from cait_mm.datasets import ImageFolder, RepeatAugSampler
from cait_mm.datasets.images import find_images, load_batches, spread
from cait_mm.errors import UserError
from cait_mm.utils.configs import load_config


@pytest.fixture
def folder(tmp_path):
    for name in ('cat', 'dog', 'eel'):
        (tmp_path / 'train' / name / 'more').mkdir(parents=True)
        for index in range(3):
            Image.new('RGB', (20, 12), (80 * index, 0, 0)).save(tmp_path / 'train' / name / f'{index}.png')
    return tmp_path


def test_class_folders(folder):
    data = ImageFolder(str(folder), 'train', transform=dict(input_size=16))
    assert len(data) == 9 and data.metainfo['classes'] == ['cat', 'dog', 'eel']
    item = data[4]
    assert item['inputs'].shape == (3, 16, 16) and item['inputs'].dtype == torch.float32 and item['targets'] == 1
    few = ImageFolder(str(folder), 'train', transform=dict(input_size=16), per_class=2)
    assert [label for _, label in few.samples] == [0, 0, 1, 1, 2, 2]


def test_a_list_file(folder):
    (folder / 'list.txt').write_text('cat/0.png 2\ndog/1.png 0\n')
    data = ImageFolder(str(folder), 'train', 'list.txt', transform=dict(input_size=16))
    assert [label for _, label in data.samples] == [2, 0] and data[0]['inputs'].shape == (3, 16, 16)


@pytest.mark.parametrize('content,message', [('cat/0.png\n', 'PATH INDEX" is wanted'),
                                             ('a b c\n', 'PATH INDEX" is wanted'), ('', 'no images in')])
def test_a_bad_list_is_a_sentence(folder, content, message):
    (folder / 'list.txt').write_text(content)
    with pytest.raises(UserError, match=message):
        ImageFolder(str(folder), 'train', 'list.txt')


def test_missing_images_are_sentences(folder):
    with pytest.raises(UserError, match='none.txt does not exist'):
        ImageFolder(str(folder), 'train', 'none.txt')
    with pytest.raises(UserError, match='no images in the class folders'):
        ImageFolder(str(folder), 'val')
    with pytest.raises(UserError, match='no images below'):
        find_images(folder / 'val', 3)


@pytest.mark.parametrize('damage', [b'', b'not an image', b'\x89PNG\r\n\x1a\n'])
def test_a_damaged_image_is_named(folder, damage):
    (folder / 'train' / 'dog' / '1.png').write_bytes(damage)
    data = ImageFolder(str(folder), 'train', transform=dict(input_size=16))
    with pytest.raises(UserError, match='dog/1.png cannot be read'):
        data[4]


def test_batches_to_calibrate_on(folder):
    paths = find_images(folder, 5)
    assert [tuple(batch.shape) for batch in load_batches(paths, 32, batch_size=2)] == [(2, 3, 32, 32)] * 2 + [
        (1, 3, 32, 32)]
    assert spread(range(10), 4) == [0, 2, 5, 7] and spread([1, 2], 5) == [1, 2]


def test_repeated_augmentation_sees_a_third_three_times(monkeypatch):
    sampler = RepeatAugSampler(list(range(768)), seed=3)
    first = list(sampler)
    assert len(first) == 768 and len(set(first)) == 256
    sampler.set_epoch(1)
    assert list(sampler) != first
    sampler.set_epoch(0)
    assert list(sampler) == first
    monkeypatch.setattr('cait_mm.datasets.samplers.get_dist_info', lambda: (1, 2))
    assert len(list(RepeatAugSampler(list(range(768)), seed=3))) == 384


def test_the_recipes_augmentation_takes_any_draw():
    transform = load_config(str(ROOT / 'configs' / 'compress_deit_s_imagenet.py')).train_dataloader.dataset.transform
    image, augment = Image.new('RGB', (64, 64), (90, 60, 30)), create_transform(**transform)
    strongest = rand_augment_transform(transform.auto_augment.replace('mstd0.5', 'mstd20'), {})
    for _ in range(150):  # a wide spread of strengths reaches the upper bound, where an operation may refuse
        strongest(image)
    assert augment(image).shape == (3, 224, 224)
