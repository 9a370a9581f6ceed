"""Weighted merges and residual restoring leave a backbone that every format can hold, without a break in the graph."""
import pytest
import torch
from conftest import FAMILIES, plain_backbone
from torch import nn

from cait_mm.deploy import difference, load_saved, save_onnx, save_program
from cait_mm.models import ViT

VITS = {'rotary': dict(pos_embed=False, rope=dict(type='dinov3', rotate_half=True)),
        'offsets': dict(pos_embed=False, rel_pos_bias=True)}
"""Plain ViTs whose positions are in their attention."""


@pytest.fixture(params=[('residual', name) for name in (*FAMILIES, *VITS)]
                + [('residual_linear', name) for name in FAMILIES], ids='-'.join)
def backbone(request) -> nn.Module:
    mode, name = request.param
    family, more = (name, {}) if name in FAMILIES else ('deit', VITS[name])
    merges = tuple((place, f'{kind}_weighted') for place, kind in FAMILIES[family]['merge'])
    options = dict(merge=merges, restore_mode=mode, out_indices=(1, 2))
    if more:
        model = ViT({**FAMILIES[family]['arch'], **more}, **options).eval()
    else:
        model = plain_backbone(family, **options).eval()
    for merge in (module for name, module in model.named_modules() if name.rpartition('.')[0].endswith('merges')):
        for parameter in (merge.power, merge.proportion):
            if parameter is not None:
                nn.init.normal_(parameter, 2., 0.5)  # no constant that an export could fold away unseen
    for layer in model.restores.values():
        nn.init.normal_(layer.weight)
    model.in_channels = 3
    return model


@pytest.mark.parametrize('form,save', [('onnx', save_onnx), ('torch-export', save_program)])
def test_saved_backbones_compute_the_same(backbone, tmp_path, form, save):
    if form == 'onnx':
        pytest.importorskip('onnxruntime', reason='pip install -r requirements/export.txt')
    shape = 48, 80  # grids with odd sides, which merges pad
    save(backbone, shape, tmp_path / form, {'shape': list(shape)})
    assert difference(backbone, load_saved(tmp_path / form, form), shape) < 1e-4


@torch.no_grad()
def test_the_graph_is_one(backbone):
    image = torch.randn(2, 3, 64, 64)
    for wanted, got in zip(backbone(image), torch.compile(backbone, fullgraph=True, backend='eager')(image)):
        torch.testing.assert_close(got, wanted)
