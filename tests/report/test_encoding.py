import base64
import io

import numpy as np
import torch
from PIL import Image
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD

from cait_mm.report.encoding import MOST_SIDE, jpeg, label_png, picture_of


def opened(text):
    return Image.open(io.BytesIO(base64.b64decode(text)))


def test_large_pictures_are_made_smaller_and_small_ones_stay():
    for size, shown in (((2 * MOST_SIDE, MOST_SIDE), (MOST_SIDE, MOST_SIDE // 2)), ((40, 30), (40, 30))):
        entry = jpeg(Image.new('RGBA', size, 'red'))
        assert opened(entry['jpeg']).size == (entry['width'], entry['height']) == shown


def test_labels_have_their_colours_and_void_has_none():
    labels = np.array([[0, 1, 255], [1, 1, 7]])
    pixels = np.asarray(opened(label_png(labels, [(1, 2, 3), (4, 5, 6)])).convert('RGBA'))
    assert pixels[0, 0].tolist() == [1, 2, 3, 255] and pixels[1, 1].tolist() == [4, 5, 6, 255]
    assert pixels[0, 2, 3] == pixels[1, 2, 3] == 0


def test_a_normalised_image_is_a_picture_again():
    pixels = torch.randint(256, (3, 5, 7), dtype=torch.uint8)
    mean, std = (torch.tensor(value).view(3, 1, 1) for value in (IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD))
    shown = np.asarray(picture_of((pixels / 255 - mean) / std))
    assert (shown == pixels.permute(1, 2, 0).numpy()).all()
