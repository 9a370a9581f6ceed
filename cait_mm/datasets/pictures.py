"""Pictures and two-valued masks, TIFF's traps included, read through MMEngine's files.

``picture://FILE`` is a colour picture as a PNG and ``mask://FILE`` a mask of 0 and 1: MMSegmentation's own loading and
drawing take such paths.
"""
from pathlib import Path

import cv2
import numpy as np
import tifffile
from mmengine.fileio import LocalBackend, register_backend
from PIL import Image, UnidentifiedImageError

from cait_mm.errors import UserError

SUFFIXES = ('.png', '.jpg', '.jpeg', '.bmp', '.tif', '.tiff')


def read_picture(path: str) -> np.ndarray:
    """A picture as RGB uint8 (H, W, 3); 16 bits, floats 0..1, greys, palettes and alpha are converted.

    Raises:
        UserError: The file is missing or damaged, or holds several pictures.
    """
    values = _read(path)
    if values.dtype == np.uint16:
        values = np.rint(values / 257).astype(np.uint8)
    elif values.dtype.kind == 'f' and values.min() >= 0 and values.max() <= 1:
        values = np.rint(values * 255).astype(np.uint8)
    elif values.dtype == np.bool_:
        values = values.astype(np.uint8) * 255
    if values.dtype != np.uint8:
        raise UserError(f'{path} holds {values.dtype} from {values.min()} to {values.max()}: 8 or 16 bits, or floats '
                        'from 0 to 1 are wanted.')
    return np.repeat(values[..., None], 3, 2) if values.ndim == 2 else np.ascontiguousarray(values[..., :3])


def read_mask(path: str) -> np.ndarray:
    """A mask as uint8 (H, W) of 0 and 1.

    It may be written as 0 and 1, 0 and 255, 0 and 65535, as colours or through a palette. What lies between, as at the
    edges of a JPEG, is foreground above the half.

    Raises:
        UserError: As :func:`read_picture`, or the values fit none of these.
    """
    values = _read(path)
    if values.ndim == 3:
        values = values[..., :3].max(2)
    top = float(values.max())
    if top <= 1:
        return (values > 0.5).astype(np.uint8)
    full = 255 if top <= 255 else 65535
    # a JPEG's background is not quite 0; anything else that stays below the half was meant to be something
    if top <= full / 2 and not path.lower().endswith(('.jpg', '.jpeg')):
        raise UserError(f'mask {path} has values up to {top:g}: 0 and 1 or 0 and {full} are wanted.')
    return (values > full / 2).astype(np.uint8)


class PictureBackend(LocalBackend):
    """MMEngine's files, for ``picture://FILE`` and ``mask://FILE``; only reading."""

    def get(self, filepath: str) -> bytes:
        """The picture or mask as a PNG.

        Raises:
            UserError: It cannot be read.
        """
        kind, _, path = str(filepath).partition('://')
        values = read_mask(path) if kind == 'mask' else read_picture(path)[..., ::-1]
        return cv2.imencode('.png', values)[1].tobytes()


register_backend('picture', PictureBackend, prefixes=['picture', 'mask'], force=True)


def _read(path: str) -> np.ndarray:
    """(H, W) or (H, W, channels) of the one picture in a file, as stored, palettes resolved."""
    try:
        with Image.open(path) as image:
            if getattr(image, 'n_frames', 1) > 1:
                raise UserError(f'{path} holds {image.n_frames} pictures: one a file is wanted, so split it.')
            if image.mode.startswith('I;16'):
                return np.asarray(image).astype(np.uint16)
            if image.mode in ('1', 'L', 'RGB', 'I', 'F'):
                return np.asarray(image)
            return np.asarray(image.convert('RGB'))
    except FileNotFoundError as error:
        raise UserError(f'{path} does not exist.') from error
    except (OSError, ValueError, SyntaxError, UnidentifiedImageError) as error:
        if not path.lower().endswith(('.tif', '.tiff')):
            raise UserError(f'{path} is no readable picture ({error}): get it again.') from error
    return _read_tiff(path)


def _read_tiff(path: str) -> np.ndarray:
    """What Pillow refuses: CVC-ClinicDB's tags say grey and hold three channels, others are 16-bit colours.

    OpenCV would read the first and silently drop two of the channels.
    """
    try:
        with tifffile.TiffFile(path) as file:
            if len(file.pages) != 1:
                raise UserError(f'{path} holds {len(file.pages)} pictures: one a file is wanted, so split it.')
            values = file.pages[0].asarray()
    except (OSError, ValueError, IndexError, KeyError, tifffile.TiffFileError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f'{path} is no readable TIFF ({error}): get it again, or convert it to PNG.') from error
    if values.ndim == 3 and values.shape[0] in (3, 4) and values.shape[2] not in (3, 4):
        values = values.transpose(1, 2, 0)
    if values.ndim not in (2, 3) or (values.ndim == 3 and values.shape[2] not in (3, 4)):
        raise UserError(f'{path} holds an array of shape {values.shape}: {Path(path).name} is no grey or RGB picture.')
    return values
