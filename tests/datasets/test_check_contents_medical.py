"""tools/check_data.py looks into slices, volumes and polyps like into pictures."""
import h5py
import numpy as np
import pytest
from PIL import Image

pytest.importorskip('mmseg')


@pytest.fixture
def acdc(tmp_path):
    label = np.ones((3, 40, 30), np.uint8)
    label[:, :5] = 0
    for folder in ('train_slices', 'test_volumes'):
        (tmp_path / folder).mkdir()
    for index in range(3):
        write(tmp_path / 'train_slices' / f'patient001_frame01_slice_{index}.h5', label[index] * 0.5, label[index])
    write(tmp_path / 'test_volumes' / 'patient003_frame01.h5', label * 0.5, label)
    return tmp_path


def write(path, image, label):
    with h5py.File(path, 'w') as file:
        file['image'], file['label'] = image, label


def check(tool, config, root):
    words = [f'{loader}_dataloader.dataset.data_root={root}' for loader in ('train', 'val', 'test')]
    return tool('check_data.py', f'configs/{config}.py', '--cfg-options', *words)


def test_good_files(tool, acdc):
    status, out, err = check(tool, 'cascade_decoder_deit_s_acdc', acdc)
    assert status == 0 and out.count('3 items, 3 decoded, 0 problems') == 3, out + err


def test_bad_slices_are_named(tool, acdc):
    (acdc / 'train_slices' / 'patient001_frame01_slice_0.h5').write_text('moved permanently')
    write(acdc / 'train_slices' / 'patient001_frame01_slice_1.h5', np.ones((4, 4)), np.full((4, 4), 13))
    write(acdc / 'train_slices' / 'patient001_frame01_slice_2.h5', np.full((4, 4), 400.), np.ones((4, 4)))
    status, out, _ = check(tool, 'cascade_decoder_deit_s_acdc', acdc)
    assert status == 2 and '3 items, 3 decoded' in out
    assert 'slice_0.h5 is no readable HDF5 file' in out and 'slice_1.h5#:label holds 13' in out
    assert 'intensities of patient001_frame01_slice_2.h5 go from 400 to 400' in out


def test_a_patient_in_two_splits_is_named(tool, acdc):
    (acdc / 'test_volumes' / 'patient003_frame01.h5').rename(acdc / 'test_volumes' / 'patient001_frame02.h5')
    status, out, _ = check(tool, 'cascade_decoder_deit_s_acdc', acdc)
    assert status == 2 and out.count('1 of 1 patients or sequences are in training too (patient001)') == 2


def test_a_damaged_volume_leaves_the_other_splits_their_lines(tool, acdc):
    (acdc / 'test_volumes' / 'patient003_frame01.h5').write_text('moved permanently')
    status, out, _ = check(tool, 'cascade_decoder_deit_s_acdc', acdc)
    assert status == 2 and '3 items, 3 decoded, 0 problems' in out and out.count('is no readable HDF5 file') == 2


def test_polyps(tool, tmp_path):
    for folder in ('TrainDataset', 'TestDataset/Kvasir'):
        for kind in ('images', 'masks'):
            (tmp_path / folder / kind).mkdir(parents=True)
            for name in 'ab':
                picture = Image.new('RGB' if kind == 'images' else 'L', (30, 40))
                picture.paste(255 if kind == 'masks' else (90, 90, 90), (0, 0, 9, 9))
                picture.save(tmp_path / folder / kind / f'{name}.png')
    status, out, err = check(tool, 'cascade_decoder_deit_s_polyp', tmp_path)
    assert status == 0 and out.count('2 items, 2 decoded, 0 problems') == 3, out + err
    Image.new('L', (30, 40), 9).save(tmp_path / 'TrainDataset/masks/a.png')
    Image.new('L', (30, 30)).save(tmp_path / 'TrainDataset/masks/b.png')
    status, out, _ = check(tool, 'cascade_decoder_deit_s_polyp', tmp_path)
    assert status == 2 and 'has values up to 9' in out and 'is 30x30, its picture 40x30' in out
    (tmp_path / 'TrainDataset/masks/a.png').unlink()
    status, out, err = check(tool, 'cascade_decoder_deit_s_polyp', tmp_path)
    assert status == 2 and 'a has no mask in' in out and 'Traceback' not in err
    assert 'train: found' in out and out.count('2 items, 2 decoded, 0 problems') == 2, 'one line per split all the same'


@pytest.mark.parametrize('value,said', [(np.nan, 'are no class ids'), (7, 'holds 7, and there are classes 0 to 3')])
def test_labels_of_a_slice_that_are_none(tool, acdc, value, said):
    label = np.zeros((40, 30), np.float32)
    label[:9], label[9:12] = 1, value
    write(acdc / 'train_slices' / 'patient001_frame01_slice_1.h5', np.zeros_like(label), label)
    status, out, err = check(tool, 'cascade_decoder_deit_s_acdc', acdc)
    assert status == 2 and said in out and 'slice_1' in out and 'Traceback' not in err
    assert '3 items, 3 decoded, 1 problems' in out
