import os

import pytest
import torch
from conftest import ROOT
from PIL import Image
from timm.data import create_transform
from timm.data.auto_augment import rand_augment_transform
from timm.data.readers.reader_image_folder import find_images_and_targets

from cait_mm.config.load import load_config
from cait_mm.datasets import ImageFolder, RepeatAugSampler
from cait_mm.errors import UserError
from cait_mm.utils.images import find_images, load_batches, spread


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


@pytest.mark.parametrize('encoding', ['utf-8', 'utf-8-sig', 'utf-16', 'utf-32'])
@pytest.mark.parametrize('end', ['\n', '\r\n', '\r'])
def test_lists_of_all_editors_are_read(folder, encoding, end):
    (folder / 'train' / 'cat' / 'böse ü 1.png').write_bytes((folder / 'train' / 'cat' / '0.png').read_bytes())
    lines = ['cat/0.png 2', '', 'cat/böse ü 1.png 1  ', '  dog/1.png\t0', str(folder / 'train/eel/2.png 3')]
    (folder / 'list.txt').write_bytes(end.join(lines).encode(encoding))
    data = ImageFolder(str(folder), 'train', 'list.txt', transform=dict(input_size=16))
    assert [label for _, label in data.samples] == [2, 1, 0, 3] and len(data.metainfo['classes']) == 4
    assert all(data[index]['inputs'].shape == (3, 16, 16) for index in range(4))


@pytest.mark.parametrize('line', ['cat/0.png', 'a b c', 'cat/0.png -1', 'cat/0.png 1.0', 'cat/0.png 1e3', '3',
                                  'cat/0.png 1000000000', 'cat/0.png ' + '9' * 5000, 'cat/0.png 1_0', 'cat/0.png ٣'])
def test_a_line_that_does_not_fit_is_a_sentence(folder, line):
    (folder / 'list.txt').write_text(f'dog/1.png 0\n{line}\n', encoding='utf-8')
    with pytest.raises(UserError, match='list.txt has the line ".*": "PATH INDEX" is wanted') as raised:
        ImageFolder(str(folder), 'train', 'list.txt')
    assert len(str(raised.value)) < 400


@pytest.mark.parametrize('content,message', [
    (b'', 'no images in'), (b'\n \n', 'no images in'), (b'cat/0.png 1\n\xff\xfa 1\n', 'no UTF-8 text .byte 12'),
    (b'cat/0.png\0 1', 'holds null bytes')])
def test_a_list_that_is_none_is_a_sentence(folder, content, message):
    (folder / 'list.txt').write_bytes(content)
    with pytest.raises(UserError, match=message):
        ImageFolder(str(folder), 'train', 'list.txt')


def test_lists_and_images_that_are_no_files_are_sentences(folder):
    os.mkfifo(folder / 'list.txt')
    with pytest.raises(UserError, match='list.txt is a named pipe'):
        ImageFolder(str(folder), 'train', 'list.txt')
    os.mkfifo(folder / 'train' / 'cat' / '9.jpg')
    (folder / 'train' / 'cat' / '8.jpg').mkdir()
    data = ImageFolder(str(folder), 'train', transform=dict(input_size=16))
    assert len(data) == 10, 'a folder is no image, and what else is none is named when it is read'
    with pytest.raises(UserError, match='9.jpg is a named pipe'):
        data[3]
    with pytest.raises(UserError, match='9.jpg is a named pipe'):
        list(load_batches(find_images(folder, 100), 32))


def test_folders_are_those_of_timm(folder):
    for name in ('10', '9', 'b10', 'b9'):
        (folder / 'train' / name / 'deep').mkdir(parents=True)
        for picture in ('x10.PNG', 'x9.png', 'none.txt'):
            (folder / 'train' / name / 'deep' / picture).write_bytes((folder / 'train/cat/0.png').read_bytes())
    (folder / 'train' / 'linked').symlink_to('cat')
    (folder / 'train' / 'top.png').write_bytes((folder / 'train/cat/0.png').read_bytes())
    wanted, index = find_images_and_targets(str(folder / 'train'), types=('.png', ))
    data = ImageFolder(str(folder), 'train')
    assert data.samples == wanted and data.metainfo['classes'] == sorted(index, key=index.get)


def test_links_in_a_circle_are_followed_once(folder):
    for name in ('cat', 'dog', 'eel'):
        for number in range(4):  # 40 levels of 12 branches, if each were followed
            (folder / 'train' / name / f'loop{number}').symlink_to(folder / 'train')
    assert len(ImageFolder(str(folder), 'train')) == 9
    assert len(find_images(folder, 100)) == 9


def test_a_folder_that_cannot_be_listed_is_a_sentence(folder, monkeypatch):
    def scandir(path):
        if str(path).endswith('dog'):
            raise PermissionError(13, 'Permission denied', str(path))
        return real(path)

    real = os.scandir
    monkeypatch.setattr(os, 'scandir', scandir)
    with pytest.raises(UserError, match='folder .*dog cannot be listed .Permission denied'):
        ImageFolder(str(folder), 'train')


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
    transform = load_config(str(ROOT / 'configs' / 'deit_s_600e_imagenet.py')).train_dataloader.dataset.transform
    image, augment = Image.new('RGB', (64, 64), (90, 60, 30)), create_transform(**transform)
    strongest = rand_augment_transform(transform.auto_augment.replace('mstd0.5', 'mstd20'), {})
    for _ in range(150):  # a wide spread of strengths reaches the upper bound, where an operation may refuse
        strongest(image)
    assert augment(image).shape == (3, 224, 224)
