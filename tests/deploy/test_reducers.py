"""Which formats hold which token reducer, as docs/rivals.md says."""
import re

import pytest
from conftest import ROOT
from slow_blocks import lively
from torch import Tensor, nn

from cait_mm.deploy import difference, load_saved, save_onnx, save_program
from cait_mm.models.deit import DeiT
from cait_mm.tokens import REDUCERS

ARCH = dict(embed_dim=24, depth=3, num_heads=3, img_size=(64, 64))
SETTINGS = {
    'ToMe': dict(r=((1, 3), (2, 3))),
    'EViT': dict(keep=0.6, at=(1, 2)),
    'LFE': dict(kept=(16, 12, 8), of=16),
    'DiffRate': dict(kept=(17, 14, 9), merged=(17, 12, 8), of=17),
    'EvoViT': dict(at=(1, 2)),
    'DynamicViT': dict(at=(1, 2)),
    'dTPS': dict(at=(1, 2)),
}
SIZE = (64, 80)
CELLS = re.findall(r'^\| `(\w+)` \| (yes|no)\b[^|]*\| (yes|no)\b[^|]*\|$', (ROOT / 'docs/rivals.md').read_text(),
                   re.MULTILINE)
PAGE = {name: dict(zip(('torch-export', 'onnx'), cells)) for name, *cells in CELLS}
"""What the page says of every reducer."""


class Whole(nn.Module):
    """Maps, and the vector that a classifier reads."""

    def __init__(self, name: str) -> None:
        super().__init__()
        tokens = dict(type=name, **SETTINGS[name])
        self.backbone = lively(DeiT(ARCH, tokens=tokens, out_indices=(1, 2), final_norm=True))
        for parameter in self.backbone.tokens.parameters():
            nn.init.normal_(parameter, std=0.5)  # new predictors find all tokens alike, and ties fall anyhow

    def forward(self, images: Tensor) -> list[Tensor]:
        return [*self.backbone(images), self.backbone.pool(self.backbone.forward_tokens(images)[0])]


def test_the_page_has_a_row_for_every_reducer():
    assert set(PAGE) == set(REDUCERS) == set(SETTINGS)


@pytest.mark.parametrize('form,save', [('onnx', save_onnx), ('torch-export', save_program)])
@pytest.mark.parametrize('name', SETTINGS)
def test_saved_models_compute_the_same(name, form, save, tmp_path):
    if form == 'onnx':
        pytest.importorskip('onnxruntime', reason='pip install -r requirements/export.txt')
    model = Whole(name).eval()
    save(model, SIZE, tmp_path / form, {'shape': list(SIZE)})
    assert (difference(model, load_saved(tmp_path / form, form), SIZE) < 1e-4) == (PAGE[name][form] == 'yes')
