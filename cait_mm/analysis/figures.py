"""Pictures of merged grids."""
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from cait_mm.ops.token_merge import Grid
from cait_mm.spec import Spec


def token_grids(image: Image.Image, spec: Spec) -> Image.Image:
    """The token grid over an image at every stage of ``spec``, side by side.

    Each cell is tinted with the mean colour of the pixels its token stands for, so that the area that a merged token
    averages over can be seen; the caption gives the grid and the number of tokens.
    """
    image = image.convert('RGB')
    size = (image.height, image.width)
    first = next(iter(spec.placed), 0)
    grids = [('dense', Spec.dense(spec.arch).grids(size)[first])]
    for place, merge in spec.placed.items():
        grids.append((f'before block {merge.block}: {merge.kind}', spec.grids(size)[place]))
    panels = [_panel(image, grid, f'{name}, {grid[0]}x{grid[1]} = {grid[0] * grid[1]} tokens') for name, grid in grids]
    return side_by_side(panels)


def side_by_side(images: Sequence[Image.Image], gap: int = 8) -> Image.Image:
    """Images in a row on white."""
    width = sum(image.width for image in images) + gap * (len(images) - 1)
    sheet = Image.new('RGB', (width, max(image.height for image in images)), 'white')
    left = 0
    for image in images:
        sheet.paste(image, (left, 0))
        left += image.width + gap
    return sheet


def stacked(images: Sequence[Image.Image], captions: Sequence[str], gap: int = 8) -> Image.Image:
    """Captioned images below each other on white."""
    line = 18
    height = sum(image.height + line + gap for image in images)
    sheet = Image.new('RGB', (max(image.width for image in images), height), 'white')
    top, draw = 0, ImageDraw.Draw(sheet)
    for image, caption in zip(images, captions):
        draw.text((4, top + 3), caption, fill='black')
        sheet.paste(image, (0, top + line))
        top += image.height + line + gap
    return sheet


def _panel(image: Image.Image, grid: Grid, caption: str) -> Image.Image:
    scale = -(-320 // image.width)
    image = image.resize((image.width * scale, image.height * scale), Image.Resampling.BICUBIC)
    means = image.resize((grid[1], grid[0]), Image.Resampling.BOX).resize(image.size, Image.Resampling.NEAREST)
    blend = Image.blend(image, means, 0.7)
    draw = ImageDraw.Draw(blend)
    for x in np.linspace(0, image.width, grid[1] + 1):
        draw.line([(x, 0), (x, image.height)], fill=(255, 255, 255))
    for y in np.linspace(0, image.height, grid[0] + 1):
        draw.line([(0, y), (image.width, y)], fill=(255, 255, 255))
    return stacked([blend], [caption], gap=0)
