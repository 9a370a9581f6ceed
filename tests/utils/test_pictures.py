"""The one reader of pictures: depth, orientation, formats, and files that are no pictures."""
import io
import os
import re
import socket
import stat
import struct
import zlib
from pathlib import Path

import mmcv
import numpy as np
import pytest
import tifffile
from conftest import ROOT
from PIL import Image

from cait_mm.datasets import ImageFolder
from cait_mm.errors import UserError
from cait_mm.utils.inputs import forbid_postscript
from cait_mm.utils.pictures import MOST_PIXELS, read_image, read_mask, read_picture, require_picture_bytes

SMOOTH = np.kron(np.arange(12).reshape(4, 3) * 20, np.ones((20, 20))).astype(np.uint8)
COLOURS = np.stack([SMOOTH, SMOOTH[::-1], SMOOTH[:, ::-1]], 2)
TURNS = {1: lambda a: a, 2: np.fliplr, 3: lambda a: np.rot90(a, 2), 4: np.flipud, 5: lambda a: a.swapaxes(0, 1),
         6: lambda a: np.rot90(a, -1), 7: lambda a: np.rot90(a, 2).swapaxes(0, 1), 8: np.rot90}
"""The transformation of a stored picture by EXIF orientation (CIPA DC-008, 4.6.4 A)."""
EPS = b"""%!PS-Adobe-3.0 EPSF-3.0
%%BoundingBox: 0 0 8 8
%%EndComments
newpath 0 0 moveto 8 8 lineto stroke
%%EOF
"""


@pytest.mark.parametrize('name', ['a.png', 'a.tif', 'a.pgm'])
def test_sixteen_bits_are_not_white(tmp_path, name):
    path = tmp_path / name
    Image.fromarray(np.full((8, 8), 20000, np.uint16)).save(path)
    picture = np.asarray(read_image(path))
    assert picture.shape == (8, 8, 3) and (picture == round(20000 / 257)).all()
    steps = np.arange(256, dtype=np.uint16).reshape(16, 16) * 257
    Image.fromarray(steps).save(path)
    np.testing.assert_array_equal(read_picture(path)[..., 0], steps // 257)


@pytest.mark.parametrize('values, wanted', [
    (np.full((8, 8), 20000, np.int32), 78), (np.full((8, 8), 0.25, np.float32), 64), (np.zeros((8, 8), np.float32), 0),
    (np.full((8, 8), 20000, '>u2'), 78)])
def test_wide_values_of_a_known_range_are_converted(tmp_path, values, wanted):
    tifffile.imwrite(tmp_path / 'a.tif', values, byteorder='>' if values.dtype.byteorder == '>' else '<')
    assert (np.asarray(read_image(tmp_path / 'a.tif')) == wanted).all()


@pytest.mark.parametrize('values', [
    np.full((8, 8), 200, np.int32), np.full((8, 8), -4, np.int32), np.full((8, 8), 70000, np.int32),
    np.full((8, 8), np.nan, np.float32), np.full((8, 8), 3.5, np.float32), np.full((8, 8), -0.5, np.float32)])
def test_wide_values_of_no_known_range_are_a_sentence(tmp_path, values):
    tifffile.imwrite(tmp_path / 'a.tif', values)
    with pytest.raises(UserError, match=f'a.tif holds {values.dtype} from .*8 or 16 bits, or floats from 0 to 1'):
        read_image(tmp_path / 'a.tif')


def test_image_folders_read_pictures_of_16_bits(tmp_path):
    for name in 'ab':
        (tmp_path / name).mkdir()
        Image.fromarray(np.full((16, 16), 20000, np.uint16)).save(tmp_path / name / '0.png')
    mean = ImageFolder(str(tmp_path), transform=dict(input_size=16, mean=(0, 0, 0), std=(1, 1, 1)))[1]['inputs'].mean()
    assert abs(float(mean) - 20000 / 65535) < 0.002


def turned(path, orientation, **options):
    exif = Image.Exif()
    exif[274] = orientation
    Image.fromarray(COLOURS).save(path, exif=exif, **options)
    return path


@pytest.mark.parametrize('orientation', TURNS)
@pytest.mark.parametrize('name, options', [
    ('a.jpg', dict(quality=100)), ('a.png', {}), ('a.webp', dict(lossless=True)), ('a.tif', {})])
def test_pictures_are_turned_as_a_camera_says_and_as_mmcv_does(tmp_path, name, options, orientation):
    path = turned(tmp_path / name, orientation, **options)
    wanted, picture = TURNS[orientation](COLOURS).astype(int), read_picture(path).astype(int)
    assert picture.shape == wanted.shape and np.abs(picture - wanted).mean() < 3
    assert np.abs(mmcv.imread(str(path), channel_order='rgb').astype(int) - picture).mean() < 3


@pytest.mark.parametrize('orientation', TURNS)
def test_a_tiff_that_pillow_refuses_is_turned_too(tmp_path, orientation):
    tifffile.imwrite(tmp_path / 'a.tif', COLOURS.astype(np.uint16) * 257, photometric='rgb',
                     extratags=[(274, 3, 1, orientation, True)])
    np.testing.assert_array_equal(read_picture(tmp_path / 'a.tif'), TURNS[orientation](COLOURS))


def test_damaged_exif_leaves_a_picture_as_it_is(tmp_path):
    path = turned(tmp_path / 'a.jpg', 3, quality=100)
    content = path.read_bytes()
    path.write_bytes(content.replace(b'Exif\0\0II', b'Exif\0\0QQ').replace(b'Exif\0\0MM', b'Exif\0\0QQ'))
    assert path.read_bytes() != content
    assert np.abs(read_picture(path).astype(int) - COLOURS).mean() < 3


def test_the_first_picture_of_a_phones_jpeg_and_of_an_animation(tmp_path):
    first, second = Image.fromarray(COLOURS), Image.new('RGB', (60, 80), 'red')
    first.save(tmp_path / 'a.jpg', 'MPO', save_all=True, append_images=[second], quality=100)
    first.save(tmp_path / 'b.webp', save_all=True, append_images=[second], lossless=True)
    first.save(tmp_path / 'c.png', save_all=True, append_images=[second])
    assert Image.open(tmp_path / 'a.jpg').format == 'MPO'
    for name in ('a.jpg', 'b.webp', 'c.png'):
        assert np.abs(read_picture(tmp_path / name).astype(int) - COLOURS).mean() < 3


def test_other_modes_are_colours(tmp_path):
    for mode in ('1', 'L', 'LA', 'P', 'RGBA', 'CMYK'):
        path = tmp_path / f'{mode}.{"tif" if mode == "CMYK" else "png"}'
        Image.fromarray(COLOURS).convert(mode).save(path)
        assert read_image(path).mode == 'RGB' and read_picture(path).shape == COLOURS.shape


@pytest.fixture(params=['a.jpg', 'a.png', 'a.tif', 'a.eps'])
def postscript(request, tmp_path):
    (tmp_path / request.param).write_bytes(EPS)
    return str(tmp_path / request.param)


def test_the_trap_is_one(ghostscript, postscript):
    with pytest.raises(OSError):
        mmcv.imfrombytes(Path(postscript).read_bytes(), backend='pillow')
    assert ghostscript.exists()


def test_postscript_is_refused_and_not_run(ghostscript, postscript):
    for read in (read_image, read_picture, read_mask):
        with pytest.raises(UserError, match='it is PostScript'):
            read(postscript)
    with pytest.raises(UserError, match='it is PostScript'):
        require_picture_bytes(EPS, postscript)
    forbid_postscript()
    with pytest.raises(OSError, match='PostScript'):
        mmcv.imfrombytes(EPS, backend='pillow')
    assert not ghostscript.exists()


def test_nothing_else_opens_a_picture_without_a_list_of_formats():
    for path in [*(ROOT / 'cait_mm').rglob('*.py'), *(ROOT / 'tools').rglob('*.py')]:
        for call in re.findall(r'Image\.open\(.*', path.read_text()):
            assert 'formats=FORMATS' in call, path


def vast_png(side):
    """A header of ``side`` x ``side`` and next to nothing behind it."""
    def chunk(name, content):
        return struct.pack('>I', len(content)) + name + content + struct.pack('>I', zlib.crc32(name + content))

    header = struct.pack('>IIBBBBB', side, side, 8, 2, 0, 0, 0)
    return b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', header) + chunk(b'IDAT', zlib.compress(b'\0')) + chunk(b'IEND', b'')


def test_a_bomb_is_a_sentence_with_its_size(tmp_path):
    path = tmp_path / 'a.png'
    path.write_bytes(vast_png(40000))
    for read in (read_image, read_mask, lambda path: require_picture_bytes(path.read_bytes(), str(path))):
        with pytest.raises(UserError, match=f'a.png has 1600000000 pixels, and {MOST_PIXELS} are the most'):
            read(path)


def test_a_bomb_that_only_tifffile_opens_is_a_sentence(tmp_path):
    tifffile.imwrite(tmp_path / 'a.tif', COLOURS.astype(np.uint16), photometric='rgb')
    with tifffile.TiffFile(tmp_path / 'a.tif', mode='r+') as file:
        file.pages[0].tags['ImageWidth'].overwrite(60000)
        file.pages[0].tags['ImageLength'].overwrite(60000)
    with pytest.raises(UserError, match='a.tif has 3600000000 pixels'):
        read_image(tmp_path / 'a.tif')


def no_file(kind, path, tmp_path):
    if kind == 'named pipe':
        os.mkfifo(path)
    elif kind == 'folder':
        path.mkdir()
    elif kind == 'socket':
        socket.socket(socket.AF_UNIX).bind(os.path.relpath(path))
    elif kind == 'device':
        path.symlink_to('/dev/zero')
    elif kind == 'loop':
        path.symlink_to(path.name)
    elif kind == 'broken link':
        path.symlink_to('gone.jpg')
    elif kind == 'empty':
        path.touch()


@pytest.mark.parametrize('kind, words', [
    ('named pipe', 'is a named pipe, no file'), ('folder', 'is a folder, no file'), ('socket', 'is a socket, no file'),
    ('device', 'is a device, no file'), ('loop', 'cannot be opened'), ('broken link', 'is a link to gone.jpg'),
    ('empty', 'cannot be read, because it is empty'), ('missing', 'does not exist')])
def test_special_files_are_never_opened(tmp_path, monkeypatch, kind, words):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / 'a.jpg'
    no_file(kind, path, tmp_path)
    for read in (read_image, read_mask):
        with pytest.raises(UserError, match=words) as raised:
            read(str(path))
        assert 'a.jpg' in str(raised.value)


def test_the_kinds_deserve_their_names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for kind, check in (('named pipe', stat.S_ISFIFO), ('socket', stat.S_ISSOCK), ('device', stat.S_ISCHR)):
        no_file(kind, tmp_path / kind, tmp_path)
        assert check((tmp_path / kind).stat().st_mode)


def test_cut_jpegs_are_told_from_whole_ones(tmp_path):
    """Old versions of OpenCV fill the rest with grey, without a word."""
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    exif = Image.Exif()
    exif[274] = 1
    for options in ({}, dict(progressive=True), dict(exif=exif, comment=b'\xff\xd9 \xff\xda')):
        file = io.BytesIO()
        noise.save(file, 'JPEG', **options)
        whole = file.getvalue()
        for content in (whole, whole + b'\0' * 40, whole + b'\xff\xda more of a camera'):
            require_picture_bytes(content, 'a.jpg')
        for length in (len(whole) // 2, len(whole) - 100, len(whole) - 2):
            with pytest.raises(UserError, match='picture a.jpg cannot be read .*truncated'):
                require_picture_bytes(whole[:length], 'a.jpg')


def test_masks_of_no_numbers_are_a_sentence(tmp_path):
    for value in (np.nan, -1):
        tifffile.imwrite(tmp_path / 'a.tif', np.full((8, 8), value, np.float32))
        with pytest.raises(UserError, match='mask .*a.tif goes from'):
            read_mask(tmp_path / 'a.tif')
