"""Arrays in files: whatever is in one, it is an array of numbers or one sentence."""
import io
import os
import pickle
import struct
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest

from cait_mm.datasets.arrays import MOST_SLICES, open_arrays
from cait_mm.datasets.slices import read_slice, volume_shape
from cait_mm.errors import UserError

GOOD = np.arange(24, dtype=np.float32).reshape(4, 6) / 24


class Harmful:
    """Leaves a file behind where it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), 'w')


def save_npz(path, **entries):
    np.savez(path, **entries)
    return str(path)


def save_h5(path, **entries):
    with h5py.File(path, 'w') as file:
        for name, values in entries.items():
            file[name] = values
    return str(path)


SAVE = {'npz': save_npz, 'h5': save_h5}


def refused(path, words):
    with pytest.raises(UserError, match=words) as raised, open_arrays(str(path)) as arrays:
        arrays.entry('image').read(None)
    assert '\n' not in str(raised.value) and os.path.basename(path) in str(raised.value)


@pytest.mark.parametrize('suffix', SAVE)
@pytest.mark.parametrize('dtype', ['bool', 'uint8', 'int64', 'float16', '>f4', 'float64'])
def test_numbers_are_read_whole_and_by_slice(tmp_path, suffix, dtype):
    values = np.asfortranarray((GOOD * 20).reshape(2, 3, 4).astype(dtype))
    with open_arrays(SAVE[suffix](tmp_path / f'a.{suffix}', image=values)) as arrays:
        entry = arrays.entry('image')
        assert list(arrays.names) == ['image'] and entry.shape == (2, 3, 4)
        np.testing.assert_array_equal(entry.read(None), values)
        np.testing.assert_array_equal(entry.read(1), values[1])


@pytest.mark.parametrize('suffix', SAVE)
@pytest.mark.parametrize('values, words', [
    (np.zeros((0, 4)), 'an empty array'), (np.zeros((4, 6), 'c8'), 'type complex64'),
    (np.zeros(3, [('a', 'f4'), ('b', 'i4')]), 'values of type'), (np.array([b'a', b'bc']), 'type .S2'),
    (np.zeros((MOST_SLICES + 1, 1, 1), np.uint8), f'{MOST_SLICES + 1} slices, more than')])
def test_other_kinds_are_a_sentence(tmp_path, suffix, values, words):
    refused(SAVE[suffix](tmp_path / f'a.{suffix}', image=values), f'entry image of .* holds .*{words}')


def test_nothing_is_unpickled(tmp_path):
    path = save_npz(tmp_path / 'a.npz', image=np.array([Harmful(tmp_path / 'ran')], object))
    refused(path, 'type object')
    (tmp_path / 'b.npz').write_bytes(pickle.dumps(Harmful(tmp_path / 'ran')))
    refused(tmp_path / 'b.npz', 'no readable NumPy archive')
    assert not (tmp_path / 'ran').exists()
    with pytest.raises((OSError, ValueError, TypeError, AttributeError)):
        np.load(path, allow_pickle=True)['image'].item().read()
    assert (tmp_path / 'ran').exists(), 'the trap is one'


def archive_of(path, header, content=b'', name='image.npy'):
    """A NumPy archive with one entry of any header."""
    text = header.encode().ljust(118 - 1) + b'\n'
    with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, b'\x93NUMPY\x01\x00' + struct.pack('<H', len(text)) + text + content)
    return path


@pytest.mark.parametrize('header, words', [
    ("{'descr': '<f8', 'fortran_order': False, 'shape': (1000000, 1000000)}", 'larger than 4 GiB'),
    ("{'descr': '<f8', 'fortran_order': False, 'shape': (-4, 6)}", 'a.npz'),
    ("{'descr': '<f8', 'fortran_order': False, 'shape': 7}", 'no readable NumPy archive'),
    ("{'descr': '|O', 'fortran_order': False, 'shape': (4, 6)}", 'type object'),
    ("{'descr': '<f8', 'fortran_order': False, 'shape': (4, 6)}", 'no readable NumPy archive'),
    ("__import__('os').getcwd()", 'no readable NumPy archive')])
def test_a_header_that_lies_is_a_sentence(tmp_path, header, words):
    refused(archive_of(tmp_path / 'a.npz', header), words)


def test_a_zip_bomb_is_not_unpacked(tmp_path):
    path = archive_of(tmp_path / 'a.npz', "{'descr': '|u1', 'fortran_order': False, 'shape': (5000000000,)}",
                      bytes(1 << 20))
    refused(path, 'larger than 4 GiB')


def test_a_bare_array_and_a_foreign_archive_are_sentences(tmp_path):
    with open(tmp_path / 'a.npz', 'wb') as file:
        np.save(file, GOOD)
    refused(tmp_path / 'a.npz', 'no readable NumPy archive')
    with zipfile.ZipFile(tmp_path / 'b.npz', 'w') as archive:
        archive.writestr('image', b'text')
    refused(tmp_path / 'b.npz', 'no readable NumPy archive')
    with zipfile.ZipFile(tmp_path / 'c.npz', 'w') as archive:
        archive.writestr('image.npy', b'text')
    refused(tmp_path / 'c.npz', 'no readable NumPy archive')


def test_a_huge_dataset_that_was_never_written_is_a_sentence(tmp_path):
    with h5py.File(tmp_path / 'a.h5', 'w') as file:
        file.create_dataset('image', shape=(10, 10 ** 6, 10 ** 6), dtype='f8', chunks=(1, 100, 100))
    refused(tmp_path / 'a.h5', 'larger than 4 GiB')


def test_other_files_are_not_followed(tmp_path):
    save_h5(tmp_path / 'secret.h5', image=GOOD)
    (tmp_path / 'secret.raw').write_bytes(GOOD.tobytes())
    with h5py.File(tmp_path / 'link.h5', 'w') as file:
        file['image'] = h5py.ExternalLink('secret.h5', 'image')
    with h5py.File(tmp_path / 'soft.h5', 'w') as file:
        file['other'] = h5py.ExternalLink('secret.h5', '/')
        file['image'] = h5py.SoftLink('/other/image')
    with h5py.File(tmp_path / 'raw.h5', 'w') as file:
        file.create_dataset('image', (4, 6), 'f4', external=[(str(tmp_path / 'secret.raw'), 0, 96)])
    with h5py.File(tmp_path / 'virtual.h5', 'w') as file:
        layout = h5py.VirtualLayout((4, 6), 'f4')
        layout[:] = h5py.VirtualSource(str(tmp_path / 'secret.h5'), 'image', (4, 6))
        file.create_virtual_dataset('image', layout)
    for name in ('link', 'soft', 'raw', 'virtual'):
        with h5py.File(tmp_path / f'{name}.h5') as file:
            np.testing.assert_array_equal(file['image'][()], GOOD, 'the trap is one')
        refused(tmp_path / f'{name}.h5', 'a link to another file|values that lie in another file')
    with h5py.File(tmp_path / 'inside.h5', 'w') as file:
        file['group/values'] = GOOD
        file['image'] = h5py.SoftLink('/group/values')
    with open_arrays(str(tmp_path / 'inside.h5')) as arrays:
        np.testing.assert_array_equal(arrays.entry('image').read(None), GOOD)


def test_groups_texts_scalars_and_types_that_numpy_lacks_are_sentences(tmp_path):
    kinds = {
        'group': lambda file: file.create_group('image'),
        'type': lambda file: file.__setitem__('image', np.dtype('f4')),
        'text': lambda file: file.__setitem__('image', 'text'),
        'ragged': lambda file: file.create_dataset('image', (3, ), h5py.vlen_dtype('i4')),
        'nothing': lambda file: file.__setitem__('image', h5py.Empty('f4')),
        'dangling': lambda file: file.__setitem__('image', h5py.SoftLink('/gone')),
    }
    for name, make in kinds.items():
        with h5py.File(tmp_path / f'{name}.h5', 'w') as file:
            make(file)
        refused(tmp_path / f'{name}.h5', 'an array of numbers is wanted|no readable HDF5 file')
    with pytest.raises(UserError, match=r'array of shape \(\) and one slice'):
        read_slice(save_h5(tmp_path / 'scalar.h5', image=1., label=1))


@pytest.mark.parametrize('suffix', SAVE)
def test_special_files_are_never_opened(tmp_path, suffix):
    os.mkfifo(tmp_path / f'pipe.{suffix}')
    (tmp_path / f'folder.{suffix}').mkdir()
    (tmp_path / f'device.{suffix}').symlink_to('/dev/zero')
    (tmp_path / f'loop.{suffix}').symlink_to(f'loop.{suffix}')
    (tmp_path / f'empty.{suffix}').touch()
    for name, words in (('pipe', 'a named pipe'), ('folder', 'a folder'), ('device', 'a device'),
                        ('loop', 'cannot be opened'), ('empty', 'it is empty')):
        refused(tmp_path / f'{name}.{suffix}', words)


@pytest.mark.parametrize('values', [np.nan, np.inf, -1., 0.5, 256.])
@pytest.mark.parametrize('suffix', SAVE)
def test_labels_that_are_no_ids_are_a_sentence(tmp_path, suffix, values):
    labels = np.zeros((4, 6), np.float32)
    labels[1, 1] = values
    path = SAVE[suffix](tmp_path / f'a.{suffix}', image=GOOD, label=labels)
    assert volume_shape(path) == (4, 6)
    with pytest.raises(UserError, match=f'labels of a.{suffix} are no class ids'):
        read_slice(path, label=True)


def test_a_locked_archive_is_a_sentence(tmp_path):
    content = bytearray(Path(save_npz(tmp_path / 'a.npz', image=GOOD)).read_bytes())
    for mark, place in ((b'PK\x03\x04', 6), (b'PK\x01\x02', 8)):
        content[content.index(mark) + place] |= 1  # encrypted
    (tmp_path / 'a.npz').write_bytes(content)
    refused(tmp_path / 'a.npz', 'no readable NumPy archive')
    assert zipfile.ZipFile(io.BytesIO(content)).namelist() == ['image.npy']
