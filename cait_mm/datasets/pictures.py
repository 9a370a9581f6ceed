"""Pictures and masks of all formats (``cait_mm/utils/pictures.py``) through MMEngine's file backends.

``picture://FILE`` is a colour picture as a PNG and ``mask://FILE`` a mask of 0 and 1: MMSegmentation's own loading and
drawing take such paths.
"""
import cv2
from mmengine.fileio import LocalBackend, register_backend

from cait_mm.utils.pictures import read_mask, read_picture


class PictureBackend(LocalBackend):
    """A backend of MMEngine that reads ``picture://FILE`` and ``mask://FILE``."""

    def get(self, filepath: str) -> bytes:
        """The picture or mask as a PNG.

        Raises:
            UserError: It cannot be read.
        """
        kind, _, path = str(filepath).partition('://')
        values = read_mask(path) if kind == 'mask' else read_picture(path)[..., ::-1]
        return cv2.imencode('.png', values)[1].tobytes()


register_backend('picture', PictureBackend, prefixes=['picture', 'mask'], force=True)
