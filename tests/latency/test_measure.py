"""Measuring by a clock that runs with the MACs of linear layers: predictions are then exact."""
from types import SimpleNamespace

import pytest
import torch
from conftest import FAMILIES, plain_backbone, plain_classifier
from torch.nn import functional as F

from cait_mm.errors import UserError
from cait_mm.latency import measure as measuring
from cait_mm.latency.cache import measured
from cait_mm.latency.measure import measure
from cait_mm.latency.probes import probes, sites, widths_of
from cait_mm.latency.table import attention_width
from cait_mm.models.base import backbone_inside
from cait_mm.spec import make_spec

STAGES = dict(embed_dim=32, depths=(1, 2, 6, 1), num_heads=(1, 2, 2, 4), window_size=4, img_size=(128, 128))
PLAIN = dict(embed_dim=48, depth=7, num_heads=3, img_size=(96, 128))
ARCHS = {'deit': PLAIN, 'lvvit': dict(PLAIN, stem_dim=2), 'swin': STAGES}
MERGES = {'swin': (('2.2', 'horizontal'), ('2.4', 'vertical'))}


@pytest.fixture
def clock(monkeypatch):
    """Seconds that pass in linear layers alone: a microsecond for every multiplication."""
    now = SimpleNamespace(seconds=0., layer=F.linear)

    def layer(x, weight, bias=None):
        now.seconds += 1e-6 * x.numel() * weight.shape[0]
        return now.layer(x, weight, bias)

    monkeypatch.setattr(F, 'linear', layer)
    monkeypatch.setattr(measuring.time, 'perf_counter', lambda: now.seconds)
    return now


def dense(family, backbone=False, **kwargs):
    make = plain_backbone if backbone else plain_classifier
    return make(family, arch=ARCHS[family], merge=(), **kwargs).eval()


def passed(model, spec, clock):
    """Milliseconds on the clock of a forward pass of ``spec``."""
    backbone_inside(model).rebuild(spec)
    start = clock.seconds
    with torch.inference_mode():
        model(torch.rand(2, 3, *spec.arch.img_size))
    return 1000 * (clock.seconds - start)


@pytest.mark.parametrize('backbone', [False, True])
@pytest.mark.parametrize('family', FAMILIES)
def test_predictions_are_what_passes_when_a_model_runs(clock, family, backbone):
    model = dense(family, backbone, **({'out_indices': (0, 2), 'restore_mode': 'residual_linear'} if backbone else {}))
    table = measure(model, batch_size=2, seconds=0)
    arch = backbone_inside(model).arch
    assert table.conditions['batch_size'] == 2 and table.conditions['rounds'] == 4
    assert table.dense == pytest.approx(passed(model, make_spec(arch), clock))
    merges = MERGES.get(family, ((2, 'horizontal'), (4, 'vertical')) if not backbone else ((1, 'horizontal'), ))
    for qk, ffn in ((8, 48), (16, 96)):
        spec = make_spec(arch, merges, qk, qk, ffn).weighted()
        assert table.predict(spec) == pytest.approx(passed(model, spec, clock), rel=1e-9)


@pytest.mark.parametrize('arch', ['deit_tiny', 'deit_base', 'lvvit_m', 'swin_tiny', 'swin_base'])
def test_few_models_have_every_width_at_every_number_of_tokens(arch):
    arch = make_spec(arch).arch
    chosen = probes(arch, arch.img_size, arch.depth, arch.prefix_tokens())
    seen = {}
    for spec in chosen:
        for block, both in zip(spec.blocks, sites(spec, arch.img_size, arch.depth, arch.prefix_tokens())):
            for site, width in zip(both, (attention_width(arch, block), block.ffn_dim)):
                seen.setdefault(site, set()).add(width)
    for index in range(arch.depth):
        for place, part in enumerate(('attention', 'ffn')):
            own = [widths for site, widths in seen.items() if site[:2] == (part, arch.alike(index, part))]
            assert own and all(sorted(widths) == widths_of(arch, index)[place] for widths in own)
    assert len(chosen) <= 30 and len({site.tokens for site in seen}) >= 4


def test_progress_and_the_cache(monkeypatch, tmp_path):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    model, seen = dense('deit'), []
    first = measured(model, seconds=0, progress=seen.append)
    assert seen[-1].done == seen[-1].count and seen[-1].seconds_left == 0
    assert [now.done for now in seen] == list(range(1, seen[-1].count + 1))
    path, = (tmp_path / 'cait_mm' / 'latency').iterdir()
    assert 'batch1' in path.name
    assert measured(model).to_dict() == first.to_dict(), 'kept'
    measured(model, batch_size=3, seconds=0)
    measured(dense('deit', True, out_indices=(0, 2)), seconds=0)
    assert len(list(path.parent.iterdir())) == 3, 'a table for each way to run'
    path.write_text('{')
    assert measured(model, seconds=0).dense > 0, 'a damaged one is measured again'
    path.write_text(path.read_text().replace('"rounds": 4', '"rounds": 7'))
    assert measured(model).conditions['rounds'] == 7 and measured(model, again=True, seconds=0).conditions[
        'rounds'] == 4


def test_a_table_starts_from_a_dense_model():
    with pytest.raises(UserError, match='compressed already'):
        measure(plain_classifier('deit', arch=PLAIN, merge=(), ffn_dim=8))
    if not torch.cuda.is_available():
        with pytest.raises(UserError, match='no GPU'):
            measure(dense('deit'), device='cuda')
