"""Linear layers on what merges took: regression by its definition, nearer maps, and their MACs."""
import pytest
import torch
from conftest import FAMILIES
from torch import nn

from cait_mm.analysis.flops import count_macs
from cait_mm.macs import backbone_cost
from cait_mm.models import FAMILIES as CLASSES
from cait_mm.ops.token_merge import spread
from cait_mm.pruning.compress import Compression, compress_inside, encoder_saving, with_merges
from cait_mm.pruning.restoring import fit_restores
from cait_mm.spec import Spec, make_spec

OUTPUTS = {'deit': (0, 1, 2), 'lvvit': (1, 2), 'swin': (1, 2, 3)}


def pair(family, mode='residual_linear'):
    """A dense model and its merged self."""
    described = {key: value for key, value in FAMILIES[family].items() if key not in ('type', 'merge')}
    dense = CLASSES[family](**described, out_indices=OUTPUTS[family]).eval()
    small = with_merges(dense, make_spec(dense.arch, FAMILIES[family]['merge']))
    small.set_restore_mode(mode)
    return dense, small


def error(small, dense, images):
    return [(ours - full).square().mean().item() for ours, full in zip(small(images), dense(images))]


@pytest.mark.parametrize('family', FAMILIES)
@torch.no_grad()
def test_maps_come_nearer_to_the_dense_ones(family):
    dense, small = pair(family)
    images = torch.randn(40, 3, 64, 64)
    plain, built = error(small, dense, images), list(small.restores)
    fit_restores(small, dense, [images[:20], images[20:]], ridge=1e-6)
    fitted = error(small, dense, images)
    for output, before, after in zip(OUTPUTS[family], plain, fitted):
        assert after < before if str(output) in built else after == before
    assert built and str(OUTPUTS[family][-1]) in built


@torch.no_grad()
def test_it_is_least_squares_drawn_to_the_identity():
    dense, small = pair('deit')
    images = torch.randn(40, 3, 64, 64)
    fit_restores(small, dense, images.split(7), ridge=1e-9)
    ours, full = ([*model.outputs(images)][-1].tokens for model in (small, dense))
    lost, wanted = (item.permute(0, 2, 3, 1).flatten(0, 2).double() for item in (
        ours.lost, full.spread() - spread(ours.patches, ours.grid, ours.size, 'bilinear')))
    expected = torch.linalg.lstsq(lost, wanted).solution
    torch.testing.assert_close(small.restores['2'].weight.T.double(), expected, atol=1e-3, rtol=1e-3)
    fit_restores(small, dense, [images], ridge=float('inf'))
    torch.testing.assert_close(small.restores['2'].weight.T.double(), expected, atol=1e-3, rtol=1e-3)
    fit_restores(small, dense, [images], ridge=1e9)
    torch.testing.assert_close(small.restores['2'].weight, torch.eye(24), atol=1e-6, rtol=0)


@pytest.mark.parametrize('family', FAMILIES)
@pytest.mark.parametrize('size', [(64, 64), (96, 64)])
def test_their_macs_count(family, size):
    image, macs = torch.rand(1, 3, *size), {}
    for mode in ('residual_bilinear', 'residual_linear'):
        _, small = pair(family, mode)
        macs[mode] = count_macs(small, (image, ))['']
    counted = {mode: small.restore_macs(small.spec, size, mode) for mode in ('residual', *macs)}
    wanted = macs['residual_linear'] - macs['residual_bilinear']
    assert counted['residual_linear'] - counted['residual_bilinear'] == wanted > 0 == counted['residual']
    _, nearest = pair(family, 'residual')
    assert counted['residual_bilinear'] >= macs['residual_bilinear'] - count_macs(nearest, (image, ))[''] > 0
    assert small.restore_macs(Spec.dense(small.arch), size, 'residual_linear') == 0
    dense = encoder_saving(small, size, lambda spec: 'nearest')(small.spec)
    assert encoder_saving(small, size, lambda spec: 'residual_linear')(small.spec) < dense


@torch.no_grad()
def test_a_compressed_model_reaches_its_target_with_them():
    dense, _ = pair('deit')
    model, images = nn.Sequential(dense), torch.randn(8, 3, 64, 64)
    small, folded, _ = compress_inside(model, iter([images]), Compression(0.4, pad_to=0), (64, 64))
    assert list(folded.backbone.restores) and small[0].restore_mode == 'residual_linear'
    blocks = [backbone_cost(backbone.spec, (64, 64), depth=3).macs for backbone in (small[0], dense)]
    assert blocks[0] + small[0].restore_macs(folded.spec, (64, 64), 'residual_linear') <= 0.6 * blocks[1]
    assert not torch.allclose(folded.backbone.restores['2'].weight, torch.eye(24), atol=1e-3)
