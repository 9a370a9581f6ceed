"""Slices of ACDC and Synapse in both formats, and the errors about files that hold something else."""
import h5py
import mmcv
import numpy as np
import pytest
from conftest import real_data
from mmengine import fileio

from cait_mm.datasets.slices import read_slice, slice_uri, volume_shape
from cait_mm.errors import UserError

IMAGE = np.linspace(0, 1, 60, dtype=np.float32).reshape(6, 10)
LABEL = (np.arange(60).reshape(6, 10) % 4).astype(np.uint8)


def write(path, **entries) -> str:
    if path.suffix == '.npz':
        np.savez(path, **entries)
    else:
        with h5py.File(path, 'w') as file:
            for key, value in entries.items():
                file[key] = value
    return str(path)


@pytest.mark.parametrize('name, key', [('a.h5', 'image'), ('a.npz', 'image'), ('case_001_sliceED_0.npz', 'img')])
@pytest.mark.parametrize('kind', ['float32', 'float64'])
def test_a_file_of_one_slice(tmp_path, name, key, kind):
    path = write(tmp_path / name, **{key: IMAGE.astype(kind), 'label': LABEL.astype('float32')})
    np.testing.assert_array_equal(read_slice(path), np.rint(IMAGE * 255))
    np.testing.assert_array_equal(read_slice(path, label=True), LABEL)
    assert volume_shape(path) == (6, 10)


def test_a_volume_and_its_addresses_through_mmengines_files(tmp_path):
    images = np.stack([IMAGE, 1 - IMAGE, IMAGE / 2])
    path = write(tmp_path / 'case0008.npy.h5', image=images, label=np.stack([LABEL, LABEL[::-1], LABEL * 0]))
    assert volume_shape(path) == (3, 6, 10)
    picture = mmcv.imfrombytes(fileio.get(slice_uri(path, 1)))
    np.testing.assert_array_equal(picture, np.repeat(np.rint(255 * images[1])[..., None], 3, 2))
    labels = mmcv.imfrombytes(fileio.get(slice_uri(path, 1, label=True)), flag='unchanged', backend='pillow')
    np.testing.assert_array_equal(labels, LABEL[::-1])


@pytest.mark.parametrize('entries, words', [
    (dict(image=IMAGE * 400 - 125, label=LABEL), 'go from -125 to 275: scale them to 0..1'),
    (dict(image=np.full_like(IMAGE, np.nan), label=LABEL), 'go from nan to nan'),
    (dict(image=IMAGE, label=LABEL + 0.5), 'no class ids'),
    (dict(image=IMAGE, label=LABEL.astype('int16') - 1), 'no class ids'),
    (dict(image=IMAGE), 'holds image: entries "image" and "label"'),
    (dict(scan=IMAGE, label=LABEL), 'entries "image" and "label" are wanted'),
    (dict(image=IMAGE[None], label=LABEL[None]), r'shape \(1, 6, 10\) and one slice')])
@pytest.mark.parametrize('suffix', ['h5', 'npz'])
def test_unexpected_content_is_a_sentence(tmp_path, entries, words, suffix):
    path = write(tmp_path / f'a.{suffix}', **entries)
    with pytest.raises(UserError, match=words):
        read_slice(path)
        read_slice(path, label=True)


@pytest.mark.parametrize('suffix', ['h5', 'npz'])
def test_missing_cut_and_foreign_files_are_sentences(tmp_path, suffix):
    with pytest.raises(UserError, match='does not exist'):
        read_slice(str(tmp_path / f'no.{suffix}'))
    path = tmp_path / f'a.{suffix}'
    whole = write(path, image=np.random.rand(64, 64), label=np.zeros((64, 64), np.uint8))
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(UserError, match='no readable'):
        read_slice(whole)
    path.write_text('moved permanently')
    with pytest.raises(UserError, match='no readable'):
        read_slice(whole)


def test_damaged_bytes_inside_an_archive_are_a_sentence(tmp_path):
    path = tmp_path / 'a.npz'
    np.savez_compressed(path, image=np.random.rand(64, 64), label=np.zeros((64, 64), np.uint8))
    content = bytearray(path.read_bytes())
    content[2000:2100] = bytes(100)
    path.write_bytes(content)
    with pytest.raises(UserError, match='no readable NumPy archive'):
        read_slice(str(path))


def test_a_volume_with_labels_of_another_shape_and_a_slice_too_far(tmp_path):
    path = write(tmp_path / 'a.h5', image=np.zeros((3, 4, 4)), label=np.zeros((2, 4, 4), np.uint8))
    with pytest.raises(UserError, match='have to be the same'):
        volume_shape(path)
    with pytest.raises(UserError, match='slice 7, cannot be read'):
        read_slice(path, 7)
    with pytest.raises(UserError, match='slice://FILE#INDEX'):
        fileio.get('slice://a.h5')


def test_real_acdc():
    folder = real_data('acdc_subset')
    for path in sorted((folder / 'train_slices').glob('*.h5'))[:5]:
        image, label = read_slice(str(path)), read_slice(str(path), label=True)
        assert image.shape == label.shape and image.max() == 255 and set(np.unique(label)) <= {0, 1, 2, 3}
    shapes = [volume_shape(str(path)) for path in sorted((folder / 'test_volumes').glob('*.h5'))]
    assert len(shapes) == 10 and all(len(shape) == 3 for shape in shapes)
