"""Pictures and masks of polyps, TIFF's traps included, and the split by sequence."""
import mmcv
import numpy as np
import pytest
import tifffile
from conftest import real_data
from mmengine import fileio
from PIL import Image

from cait_mm.errors import UserError
from cait_mm.utils.pictures import read_mask, read_picture

COLOURS = np.random.default_rng(0).integers(0, 256, (12, 9, 3), dtype=np.uint8)
MASK = np.zeros((12, 9), np.uint8)
MASK[3:7, 2:6] = 1


def grey_tag(path):
    """Three channels whose tag says grey, as CVC-ClinicDB's: Pillow refuses it, OpenCV drops two channels."""
    tifffile.imwrite(path, COLOURS, photometric='rgb')
    with tifffile.TiffFile(path, mode='r+') as file:
        file.pages[0].tags['PhotometricInterpretation'].overwrite(1)


PICTURES = {
    'rgb.png': lambda path: Image.fromarray(COLOURS).save(path),
    'rgba.png': lambda path: Image.fromarray(np.dstack([COLOURS, MASK * 255])).save(path),
    'rgb.tif': lambda path: Image.fromarray(COLOURS).save(path),
    'lzw.tif': lambda path: Image.fromarray(COLOURS).save(path, compression='tiff_lzw'),
    'palette.tif': lambda path: Image.fromarray(COLOURS).quantize(256).save(path),
    'sixteen.tif': lambda path: tifffile.imwrite(path, COLOURS.astype(np.uint16) * 257, photometric='rgb'),
    'planes.tif': lambda path: tifffile.imwrite(path, COLOURS.transpose(2, 0, 1), photometric='rgb',
                                                planarconfig='separate'),
    'grey_tag.tif': grey_tag,
}


@pytest.mark.parametrize('name', PICTURES)
def test_a_picture_of_any_file_has_its_colours(tmp_path, name):
    path = tmp_path / name
    PICTURES[name](path)
    np.testing.assert_array_equal(read_picture(str(path)), COLOURS)
    np.testing.assert_array_equal(mmcv.imfrombytes(fileio.get(f'picture://{path}'), channel_order='rgb'), COLOURS)


def test_the_grey_tag_really_is_a_trap(tmp_path):
    import cv2
    grey_tag(tmp_path / 'a.tif')
    with pytest.raises(OSError, match='cannot identify'):
        Image.open(tmp_path / 'a.tif')
    seen = cv2.imread(str(tmp_path / 'a.tif'))
    assert seen is None or (seen[..., 0] == seen[..., 2]).all()


def palette_mask(path):
    image = Image.fromarray(MASK)
    image.putpalette([0, 0, 0, 0, 200, 0])
    image.save(path)


def inverted(path):
    """MinIsWhite: 0 is written as the highest value."""
    tifffile.imwrite(path, 255 - MASK * 255, photometric='miniswhite')


MASKS = {
    'ones.png': lambda path: Image.fromarray(MASK).save(path),
    'full.png': lambda path: Image.fromarray(MASK * 255).save(path),
    'grey_edge.png': lambda path: Image.fromarray(np.where(MASK, 251, 4).astype(np.uint8)).save(path),
    'bits.png': lambda path: Image.fromarray(MASK.astype(bool)).save(path),
    'bits.tif': lambda path: Image.fromarray(MASK.astype(bool)).save(path),
    'colours.png': lambda path: Image.fromarray(np.repeat(MASK[..., None] * 255, 3, 2)).save(path),
    'palette.png': palette_mask,
    'palette.tif': palette_mask,
    'sixteen.tif': lambda path: tifffile.imwrite(path, MASK.astype(np.uint16) * 65535),
    'sixteen_255.png': lambda path: Image.fromarray(MASK.astype(np.uint16) * 255).save(path),
    'white_is_zero.tif': inverted,
    'jpeg.jpg': lambda path: Image.fromarray(MASK * 255).resize((90, 120), 0).save(path, quality=60),
}


@pytest.mark.parametrize('name', MASKS)
def test_a_mask_of_any_file_is_zero_and_one(tmp_path, name):
    path = tmp_path / name
    MASKS[name](path)
    mask = read_mask(str(path))
    if name == 'jpeg.jpg':
        mask = mask[5::10, 5::10]
    np.testing.assert_array_equal(mask, MASK)


def test_an_empty_mask_is_empty_and_a_noisy_jpeg_of_one_too(tmp_path):
    Image.fromarray(MASK * 0).save(tmp_path / 'a.png')
    Image.fromarray(np.random.default_rng(0).integers(0, 6, (64, 64), dtype=np.uint8)).save(tmp_path / 'a.jpg')
    assert read_mask(str(tmp_path / 'a.png')).sum() == read_mask(str(tmp_path / 'a.jpg')).sum() == 0


def several(path):
    tifffile.imwrite(path, np.stack([COLOURS] * 2), photometric='rgb')


@pytest.mark.parametrize('name, make, words', [
    ('a.tif', several, 'holds 2 pictures'),
    ('a.tif', lambda path: path.write_text('moved'), 'cannot be read .it is none of PNG'),
    ('a.png', lambda path: path.write_text('moved'), 'a.png cannot be read'),
    ('a.tif', lambda path: tifffile.imwrite(path, MASK * 7.5), 'float64 from 0.0 to 7.5'),
    ('a.png', lambda path: None, 'does not exist')])
def test_unreadable_pictures_are_sentences(tmp_path, name, make, words):
    make(tmp_path / name)
    with pytest.raises(UserError, match=words):
        read_picture(str(tmp_path / name))


def test_a_cut_picture_is_a_sentence(tmp_path):
    path = tmp_path / 'a.png'
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[:4000])
    with pytest.raises(UserError, match='a.png cannot be read'):
        read_picture(str(path))


def test_other_ids_are_a_sentence(tmp_path):
    Image.fromarray(MASK * 7).save(tmp_path / 'a.png')
    with pytest.raises(UserError, match='values up to 7: 0 and 1 or 0 and 255'):
        read_mask(str(tmp_path / 'a.png'))


@pytest.fixture
def folders(tmp_path):
    pytest.importorskip('mmseg')
    for kind in ('images', 'masks'):
        (tmp_path / kind).mkdir()
    for name in ('1', '2', '3'):
        grey_tag(tmp_path / 'images' / f'{name}.tif')
        Image.fromarray(MASK * 255).save(tmp_path / 'masks' / f'{name}.png')
    return dict(data_root=str(tmp_path), data_prefix=dict(img_path='images', seg_map_path='masks'))


def polyps(folders, **keywords):
    from cait_mm.datasets.polyp import PolypDataset
    return PolypDataset(**folders, **keywords)


def test_pictures_find_their_masks_and_load_through_mmseg(folders):
    dataset = polyps(folders, pipeline=[dict(type='LoadImageFromFile'), dict(type='mmseg.LoadAnnotations')])
    item = dataset[1]
    assert len(dataset) == 3 and dataset.subjects() == set()
    np.testing.assert_array_equal(item['img'], COLOURS[..., ::-1])
    np.testing.assert_array_equal(item['gt_seg_map'], MASK)


def test_a_split_by_sequence(folders, tmp_path):
    (tmp_path / 'split.txt').write_text('1 seq1 train\n2.tif seq1 train\n3 seq2 val\n')
    train, val = (polyps(folders, ann_file='split.txt', split=split) for split in ('train', 'val'))
    assert (len(train), train.subjects()) == (2, {'seq1'}) and (len(val), val.subjects()) == (1, {'seq2'})
    (tmp_path / 'plain.txt').write_text('2\n')
    assert len(polyps(folders, ann_file='plain.txt')) == 1


@pytest.mark.parametrize('encoding', ['utf-8-sig', 'utf-16'])
def test_lists_of_all_editors_are_read(folders, tmp_path, encoding):
    for kind, name in (('images', '1.tif'), ('masks', '1.png')):
        (tmp_path / kind / f'a polyp {name}').write_bytes((tmp_path / kind / name).read_bytes())
    (tmp_path / 'split.txt').write_bytes('a polyp 1 seq1 train\r\n2.tif\tseq1\ttrain \r\n\r\n'.encode(encoding))
    assert len(polyps(folders, ann_file='split.txt', split='train')) == 2
    (tmp_path / 'plain.txt').write_bytes('a polyp 1.tif\r\n3\r\n'.encode(encoding))
    assert polyps(folders, ann_file='plain.txt').get_data_info(1)['img_path'].endswith('a polyp 1.tif')


@pytest.mark.parametrize('lines, keywords, words', [
    ('1 seq1 train\n2 seq1 val\n', dict(split='val'), 'puts sequence seq1 into train and val'),
    ('1 seq1 train\n2 seq1 val\n', dict(), 'puts sequence seq1 into train and val'),
    ('1 a train\n1.png c val\n', dict(split='val'), 'lists 1.png twice'),
    ('1 seq1\n', dict(), 'has a line "1 seq1": NAME SEQUENCE SPLIT or NAME is wanted'),
    ('1\n', dict(split='train'), 'NAME SEQUENCE SPLIT is wanted'),
    ('9 seq1 train\n', dict(split='train'), '9 has no picture in .*images'),
    ('1 seq1 train\n', dict(split='test'), 'no pictures in .*split.txt for split test')])
def test_a_list_that_does_not_fit_is_a_sentence(folders, tmp_path, lines, keywords, words):
    (tmp_path / 'split.txt').write_text(lines)
    with pytest.raises(UserError, match=words):
        polyps(folders, ann_file='split.txt', **keywords)


@pytest.mark.parametrize('lost, words', [('masks/2.png', 'no mask in .*masks'),
                                         ('images/2.tif', 'no picture in .*images')])
def test_a_picture_without_a_mask_or_the_reverse_is_a_sentence(folders, tmp_path, lost, words):
    (tmp_path / lost).unlink()
    with pytest.raises(UserError, match=f'2 has {words}'):
        polyps(folders)


def test_real_cvc_clinicdb_is_split_by_sequence():
    pytest.importorskip('mmseg')
    root = real_data('cvc_clinicdb_subset')
    folders = dict(data_root=str(root), data_prefix=dict(img_path='images', seg_map_path='masks'))
    train, val = (polyps(folders, ann_file='split_by_sequence.txt', split=split) for split in ('train', 'val'))
    assert (len(train), len(val)) == (129, 24)
    assert not train.subjects() & val.subjects() and len(train.subjects() | val.subjects()) == 29
    masks = [read_mask(val.get_data_info(index)['seg_map_path'].removeprefix('mask://')) for index in range(24)]
    assert all(0 < mask.mean() < 0.7 for mask in masks)
