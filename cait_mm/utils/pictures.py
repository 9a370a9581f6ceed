"""Reading of pictures and two-valued masks, including unusual TIFFs.

A picture that a camera marked as rotated or mirrored (EXIF orientation) is turned upright, as by MMCV's default
(``color``).
"""
import io
import re
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from cait_mm.errors import UserError, reason_of
from cait_mm.utils.inputs import POSTSCRIPT, require_file

SUFFIXES = ('.png', '.jpg', '.jpeg', '.bmp', '.webp', '.tif', '.tiff')
FORMATS = ('PNG', 'JPEG', 'BMP', 'DIB', 'WEBP', 'TIFF', 'GIF', 'PPM')
"""Formats that Pillow may open, whatever the name of a file: none of them runs a program. MPO of phones is JPEG."""
MOST_PIXELS = 178_956_970
"""Pillow's limit (twice ``Image.MAX_IMAGE_PIXELS``), which holds for every way of reading here."""
_WIDE = ('I', 'F')  # Pillow's modes of more than 8 bits, together with I;16 and its kin
EPS = (b'%!PS', b'\xc5\xd0\xd3\xc6')
_TIFF = (b'II*\0', b'MM\0*', b'II+\0', b'MM\0+')


def read_image(path: str | Path) -> Image.Image:
    """A picture as an RGB image of Pillow, turned by its EXIF orientation; see :func:`read_picture`.

    Raises:
        UserError: As :func:`read_picture`.
    """
    picture = _read(path)
    if isinstance(picture, Image.Image):
        return picture if picture.mode == 'RGB' else picture.convert('RGB')
    return Image.fromarray(_colours(picture, path))


def read_picture(path: str | Path) -> np.ndarray:
    """A picture as RGB uint8 (H, W, 3), turned by its EXIF orientation.

    16 bits, floats 0..1, greys, palettes and alpha are converted. Of several pictures in a GIF, WebP, PNG or MPO the
    first one is read.

    Raises:
        UserError: The file is missing, damaged, no regular file, no picture, larger than ``MOST_PIXELS`` or a TIFF of
            several pictures, or its values are in no known range.
    """
    return np.array(read_image(path))


def read_mask(path: str | Path) -> np.ndarray:
    """A mask as uint8 (H, W) of 0 and 1, turned like its picture.

    The file may hold 0 and 1, 0 and 255, 0 and 65535, colours or a palette. Values between these, as at the edges of a
    JPEG, are foreground in the upper half of the range.

    Raises:
        UserError: As :func:`read_picture`, or the values fit none of these.
    """
    values = np.asarray(_read(path))
    if values.ndim == 3:
        values = values[..., :3].max(2)
    top = float(values.max())
    if not top >= 0 or not values.min() >= 0:  # NaN is neither
        raise UserError(f'mask {path} goes from {values.min():g} to {top:g}: 0 and 1 or 0 and 255 are wanted.')
    if top <= 1:
        return (values > 0.5).astype(np.uint8)
    full = 255 if top <= 255 else 65535
    # the background of a JPEG is not quite 0; in other files low values alone are no mask of these kinds
    if top <= full / 2 and not str(path).lower().endswith(('.jpg', '.jpeg')):
        raise UserError(f'mask {path} has values up to {top:g}: 0 and 1 or 0 and {full} are wanted.')
    return (values > full / 2).astype(np.uint8)


def require_picture_bytes(content: bytes, path: str) -> None:
    """Check bytes before another library decodes them: PostScript, too many pixels and truncated JPEGs are refused.

    Older versions of OpenCV fill the rest of a truncated JPEG with grey. A file that is no picture at all passes,
    because some transforms load arrays.

    Raises:
        UserError: The file is refused; the message names it and the reason.
    """
    if not content:
        raise _unreadable(path, 'it is empty')
    if content.startswith(EPS):
        raise _unreadable(path, _kind_of(content))
    # the end marker does not occur inside a scan, so a whole file has it after its last scan
    cut = content.startswith(b'\xff\xd8') and content.rfind(b'\xff\xd9') < content.rfind(b'\xff\xda')
    try:
        with _opened(io.BytesIO(content), path) as image:
            if cut:
                image.load()
    except UserError:
        raise
    except Exception as error:  # decoders raise many types; a file that is not cut is left to the library
        if cut:
            raise _unreadable(path, reason_of(error)) from error


def _read(path: str | Path) -> Image.Image | np.ndarray:
    """The one picture in a file, turned: an image of Pillow for 8 bits, an array (H, W) or (H, W, C) for more."""
    require_file(path)
    start = b''
    try:
        with open(path, 'rb') as file:
            start = file.read(512)
            with _opened(file, path) as image:
                count = getattr(image, 'n_frames', 1) if image.format == 'TIFF' else 1
                if count > 1:
                    raise UserError(f'{path} holds {count} pictures: one a file is wanted, so split it.')
                image.load()
                return _values(_turned(image))
    except UserError:
        raise
    except UnidentifiedImageError as error:
        if not start.startswith(_TIFF):
            raise _unreadable(path, _kind_of(start)) from error
    except Exception as error:  # every decoder has types of its own
        if not start.startswith(_TIFF):
            raise _unreadable(path, reason_of(error)) from error
    return _read_tiff(path)


def _opened(file: BinaryIO, path: str) -> Image.Image:
    try:
        return Image.open(file, formats=FORMATS)
    except Image.DecompressionBombError as error:
        pixels = re.search(r'\d+', str(error))
        raise _too_large(path, pixels[0] if pixels else 'too many') from error


def _turned(image: Image.Image) -> Image.Image:
    with suppress(Exception):  # damaged EXIF is ignored, as by OpenCV
        ImageOps.exif_transpose(image, in_place=True)
    return image


def _values(image: Image.Image) -> Image.Image | np.ndarray:
    if image.mode.startswith('I;16'):
        return np.asarray(image).astype(np.uint16)
    if image.mode == 'I' and image.format in ('PNG', 'PPM'):  # at most 16 bits, which older versions of Pillow widen
        return np.asarray(image).astype(np.uint16)
    if image.mode in _WIDE:
        return np.asarray(image)
    return image if image.mode in ('1', 'L', 'RGB') else image.convert('RGB')


def _colours(values: np.ndarray, path: str) -> np.ndarray:
    """RGB uint8 (H, W, 3) from values whose range follows from their type."""
    low, high = values.min(), values.max()
    # as whole numbers of 32 bits, values up to 255 might be 8 or 16 bits
    if values.dtype == np.uint16 or (values.dtype.kind in 'iu' and low >= 0 and 255 < high <= 65535):
        values = np.rint(values / 257).astype(np.uint8)
    elif values.dtype.kind == 'f' and low >= 0 and high <= 1:
        values = np.rint(values * 255).astype(np.uint8)
    elif values.dtype == np.bool_:
        values = values.astype(np.uint8) * 255
    if values.dtype != np.uint8:
        raise UserError(f'picture {path} holds {values.dtype} from {low} to {high}: 8 or 16 bits, or floats from 0 to '
                        '1 are wanted.')
    return np.repeat(values[..., None], 3, 2) if values.ndim == 2 else np.ascontiguousarray(values[..., :3])


def _read_tiff(path: str) -> np.ndarray:
    """Read TIFFs that Pillow refuses: 16-bit colours, or three channels with the tag of grey (CVC-ClinicDB).

    OpenCV would read the latter and silently drop two of the channels.
    """
    try:
        import tifffile
    except ImportError as error:
        raise _unreadable(path, 'Pillow cannot read this TIFF, and tifffile is not installed') from error
    try:
        with tifffile.TiffFile(path) as file:
            if len(file.pages) != 1:
                raise UserError(f'{path} holds {len(file.pages)} pictures: one a file is wanted, so split it.')
            page = file.pages[0]
            if page.imagelength * page.imagewidth > MOST_PIXELS or page.size > 4 * MOST_PIXELS:
                raise _too_large(path, page.imagelength * page.imagewidth)
            values = page.asarray()
            orientation = int(page.tags.valueof('Orientation', 1))
    except UserError:
        raise
    except Exception as error:  # as above
        raise _unreadable(path, f'as a TIFF: {reason_of(error)}') from error
    if values.ndim == 3 and values.shape[0] in (3, 4) and values.shape[2] not in (3, 4):
        values = values.transpose(1, 2, 0)
    if not values.size or values.ndim not in (2, 3) or (values.ndim == 3 and values.shape[2] not in (3, 4)):
        raise UserError(f'picture {path} holds an array of shape {values.shape}: grey (H, W) or RGB (H, W, 3) is '
                        'wanted.')
    return _oriented(values, orientation)


def _oriented(values: np.ndarray, orientation: int) -> np.ndarray:
    """An array (H, W, ...) turned by tag 274 of TIFF and EXIF."""
    if orientation in (5, 6, 7, 8):
        values = values.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        values = values[::-1]
    if orientation in (2, 3, 6, 7):
        values = values[:, ::-1]
    return values


def _kind_of(start: bytes) -> str:
    """The likely format of a file that is no picture."""
    if start.startswith(EPS):
        return POSTSCRIPT
    if re.match(rb'\s*<(!doctype|html|\?xml|svg)', start, re.IGNORECASE):
        return 'it is a web page or XML'
    return f'it is none of {", ".join(FORMATS)}, or damaged'


def _unreadable(path: str, reason: str) -> UserError:
    return UserError(f'picture {path} cannot be read ({reason}): remove it or get it again.')


def _too_large(path: str, pixels: int | str) -> UserError:
    return UserError(f'picture {path} has {pixels} pixels, and {MOST_PIXELS} are the most that are read: cut it into '
                     'tiles.')
