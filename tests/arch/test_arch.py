import json

import pytest
from conftest import ROOT
from mmengine.config import Config

from cait_mm.arch import ARCHS, Arch, get_arch
from cait_mm.errors import UserError
from cait_mm.macs import classifier_cost, reduction
from cait_mm.spec import Spec, make_spec

H, V = 'horizontal', 'vertical'


def test_the_named_archs_are_the_published_ones():
    assert {name: (arch.family, arch.embed_dim, arch.depth, arch.heads(0)) for name, arch in ARCHS.items()} == {
        'deit_tiny': ('deit', 192, 12, 3), 'deit_small': ('deit', 384, 12, 6), 'deit_base': ('deit', 768, 12, 12),
        'lvvit_s': ('lvvit', 384, 16, 6), 'lvvit_m': ('lvvit', 512, 20, 8), 'swin_tiny': ('swin', 96, 12, 3),
        'swin_small': ('swin', 96, 24, 3), 'swin_base': ('swin', 128, 24, 4)}
    for arch in ARCHS.values():
        widths = {arch.dense_block(block).head_dim for block in range(arch.depth)}
        assert isinstance(arch, Arch) and widths == ({32} if arch.family == 'swin' else {64})


@pytest.mark.parametrize('arch,gmacs,mparams,digits', [
    ('lvvit_s', 6.6, 26.2, 1), ('lvvit_m', 12.7, 55.8, 1), ('swin_tiny', 4.509, 28.29, 2),
    ('swin_small', 8.769, 49.61, 2), ('swin_base', 15.47, 87.77, 2)])
def test_dense_figures_are_the_published_ones(arch, gmacs, mparams, digits):
    cost = classifier_cost(Spec.dense(arch))
    assert round(cost.macs / 1e9, digits) == round(gmacs, digits) and round(cost.params / 1e6, digits) == mparams


@pytest.mark.parametrize('arch,merge,percent,params', [
    ('swin_tiny', (('2.4', H), ('2.5', V)), 20.3, 28.88), ('swin_small', (('2.7', H), ('2.12', V)), 33.7, 50.2),
    ('swin_small', (('2.6', H), ('2.12', V)), 35.7, 50.2)])
def test_merging_figures_of_the_design(arch, merge, percent, params):
    spec = make_spec(arch, merge)
    assert 100 * reduction(spec) == pytest.approx(percent, abs=0.051)
    assert classifier_cost(spec).params / 1e6 == pytest.approx(params, abs=5e-3)


def params_at(reduction_wanted, merge, spare):
    """Parameters (M) at a reduction when all blocks but the last ``spare`` ones lose the same share."""
    dense = make_spec('swin_tiny', merge).blocks

    def cut(share):
        shares = [1 - share] * (12 - spare) + [1.] * spare
        heads = [round(32 * kept) for kept in shares]
        return make_spec('swin_tiny', merge, heads, heads,
                         [round(block.ffn_dim * kept) for block, kept in zip(dense, shares)])

    spec = min((cut(share / 400) for share in range(300)), key=lambda spec: abs(reduction(spec) - reduction_wanted))
    assert reduction(spec) == pytest.approx(reduction_wanted, abs=0.008)
    return classifier_cost(spec).params / 1e6


@pytest.mark.parametrize('merge,saved,params', [((), 0.267, 24.6), ((('2.4', H), ('2.5', V)), 0.354, 25.5)])
def test_the_papers_parameters_lie_between_cutting_evenly_and_sparing_the_last_stage(merge, saved, params):
    # Half of Swin's parameters and a tenth of its MACs are in the last stage: where channels go decides what is left.
    assert params_at(saved, merge, spare=0) < params < 1.015 * params_at(saved, merge, spare=2)


def test_the_stand_in_widths_of_the_config_are_the_papers():
    config = Config.fromfile(ROOT / 'configs' / 'upernet_cait_swin_t_ade20k.py').model.backbone
    spec = make_spec('swin_tiny', config['merge'], config.qk_dim, config.v_dim, config.ffn_dim)
    assert reduction(spec) == pytest.approx(0.354, abs=5e-4)
    assert classifier_cost(spec).params / 1e6 == pytest.approx(25.5, abs=0.05)


def test_swins_blocks_are_named_by_stage_and_counted_through():
    arch = ARCHS['swin_tiny']
    assert [arch.block_name(block) for block in (0, 3, 4, 9, 11)] == ['0.0', '1.1', '2.0', '2.5', '3.1']
    assert [arch.block_index(name) for name in ('2.0', '2.5')] == [4, 9] and arch.merge_blocks == range(4, 10)
    assert arch.block_path(9) == 'layers.2.blocks.5' and arch.dim(9) == 384 and arch.out_dim == 768
    deep = make_spec('swin_small', (('2.10', V), ('2.4', H)))
    assert [merge.block for merge in deep.merges] == ['2.4', '2.10'], 'by block, not by letter'


def test_swins_grids_follow_stages_and_merges():
    spec = make_spec('swin_tiny', (('2.4', H), ('2.5', V)))
    assert [spec.grids()[block] for block in (0, 2, 4, 8, 9, 10)] == [(56, 56), (28, 28), (14, 14), (14, 7), (7, 7),
                                                                     (4, 4)]
    assert spec.grids((512, 683))[8] == (32, 22), '683 pixels are 171, 86, 43 columns, merged to 22'


@pytest.mark.parametrize('name', ARCHS)
def test_specs_of_every_family_round_trip(name):
    arch = ARCHS[name]
    block = arch.block_name(arch.merge_blocks[-1])
    spec = make_spec(name, ((block, H),), v_dim=7)
    assert Spec.from_json(spec.to_json()) == spec and json.loads(spec.to_json())['merges'] == [[block, H]]
    assert get_arch(arch.to_dict()) == arch


def test_a_spec_written_before_there_were_families_is_a_deit():
    data = make_spec('deit_small', ((4, H),)).to_dict()
    del data['arch']['family']
    assert Spec.from_dict(data) == make_spec('deit_small', ((4, H),))


SWIN = dict(family='swin', embed_dim=16, depths=(1, 1, 2, 1), num_heads=(1, 1, 2, 2))


@pytest.mark.parametrize('arch,merge,message', [
    ('swin_tiny', (('1.0', H),), r"merge 1.0:horizontal: swin_tiny merges in stage 2 \(0-based\), before blocks '2.0'"),
    ('swin_tiny', (('2.6', H),), "to '2.5'"),
    ('swin_tiny', ((4, H),), 'write the block as a text "stage.block"'),
    ('swin_tiny', ((2.1, H),), 'write the block as a text'),
    ('swin_tiny', tuple((f'2.{block}', H) for block in range(4)),
     'merge 2.3:horizontal: it would leave a grid of 14x1, and swin_tiny needs 2 tokens or more'),
    ('deit_tiny', (('2.4', H),), 'deit_tiny has blocks 0 to 11'),
    (dict(SWIN, depths=(1, 1)), (), 'are of different lengths'),
    (dict(SWIN, depths=6), (), 'with one number for each stage'),
    (dict(SWIN, num_heads=(3, 1, 2, 2)), (), 'not divisible by num_heads=3'),
    (dict(SWIN, depth=2), (), 'unknown keys depth'),
    (dict(SWIN, depths=(1, 1), num_heads=(1, 1)), (('2.0', H),), 'has no stage 2'),
    (dict(family='swim'), (), "family='swim': use one of deit, lvvit, swin"),
    (dict(family='lvvit', embed_dim=12, depth=1, num_heads=1, patch_size=15), (), 'so it is even'),
    (dict(family='lvvit', embed_dim=12, depth=1, num_heads=1, residual_scale=0), (), 'must be a positive number'),
])
def test_the_impossible_is_refused_by_name(arch, merge, message):
    with pytest.raises(UserError, match=message):
        make_spec(arch, merge)
