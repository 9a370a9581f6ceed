import numpy as np
from PIL import Image

from cait_mm.analysis.figures import side_by_side, stacked, token_grids
from cait_mm.spec import make_spec


def test_token_grids_show_one_panel_per_stage():
    spec = make_spec(dict(embed_dim=8, depth=4, num_heads=1, img_size=(64, 64)), ((1, 'horizontal'), (2, 'vertical')))
    image = Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8))
    sheet = token_grids(image, spec)
    panel = 64 * (320 // 64)
    assert sheet.width == 3 * panel + 2 * 8 and sheet.height > panel

    def white_columns(index):  # a vertical grid line is white over the whole picture
        pixels = np.asarray(sheet)[-panel:, index * (panel + 8):index * (panel + 8) + panel]
        return int((pixels == 255).all(axis=(0, 2)).sum())

    assert white_columns(0) == 4 and white_columns(1) == 2, 'merging horizontally halves the columns'
    assert white_columns(2) == white_columns(1)


def test_sheets_hold_all_their_images():
    images = [Image.new('RGB', (10, 6), colour) for colour in ('red', 'blue')]
    assert side_by_side(images, gap=2).size == (22, 6)
    tall = stacked(images, ['one', 'two'], gap=2)
    assert tall.width == 10 and tall.getpixel((5, 20)) == (255, 0, 0) and tall.getpixel((5, 46)) == (0, 0, 255)
