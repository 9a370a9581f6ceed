"""Pictures and arrays as text that fits into a page."""
import base64
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from torch import Tensor

MOST_SIDE = 560
"""The longest side of a picture in a page, in pixels."""
VOID = 255


def base64_text(content: bytes) -> str:
    return base64.b64encode(content).decode('ascii')


def jpeg(picture: Image.Image) -> dict[str, Any]:
    """``picture``, made smaller where it is large: its JPEG, and its ``width`` and ``height``."""
    size = shown_size(picture.size)
    small = picture.convert('RGB').resize(size, Image.Resampling.LANCZOS) if size != picture.size else picture
    stream = io.BytesIO()
    small.convert('RGB').save(stream, 'JPEG', quality=82, optimize=True)
    return {'jpeg': base64_text(stream.getvalue()), 'width': size[0], 'height': size[1]}


def shown_size(size: tuple[int, int]) -> tuple[int, int]:
    """The (width, height) that a page shows a picture of ``size`` at."""
    scale = min(1., MOST_SIDE / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def label_png(labels: np.ndarray, palette: Sequence[Sequence[int]]) -> str:
    """A map of labels (H, W) below 255 as a PNG of their colours, transparent where a label has none."""
    void = len(palette[:VOID])  # the writer shortens the palette to the last index
    labels = np.where((labels >= 0) & (labels < void), labels, void).astype(np.uint8)
    picture = Image.fromarray(labels, 'P')
    picture.putpalette([channel for colour in [*palette[:VOID], (0, 0, 0)] for channel in colour])
    picture = picture.resize(shown_size(picture.size), Image.Resampling.NEAREST)
    stream = io.BytesIO()
    picture.save(stream, 'PNG', optimize=True, transparency=void)
    return base64_text(stream.getvalue())


def rows_as_bytes(rows: Tensor) -> str:
    """Weights (R, N), each row as shares of its largest in steps of 1/255."""
    scaled = 255 * rows / rows.amax(1, keepdim=True).clamp_min(1e-12)
    return base64_text(scaled.round().to(torch.uint8).contiguous().numpy().tobytes())


def owners_as_bytes(owners: Tensor) -> str:
    """Numbers of tokens (H, W) in two bytes each, little-endian; -1 is 65535."""
    return base64_text(owners.numpy().astype('<u2').tobytes())


def picture_of(image: Tensor) -> Image.Image:
    """An image (3, H, W) that was normalised as for ImageNet, as a picture again."""
    mean, std = (torch.tensor(value).view(3, 1, 1) for value in (IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD))
    pixels = (image.float() * std + mean).clamp(0, 1).mul(255).round().to(torch.uint8)
    return Image.fromarray(pixels.permute(1, 2, 0).numpy())
