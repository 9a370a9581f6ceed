import json

import pytest
import torch
from conftest import ROOT
from mmengine.config import Config

from cait_mm.analysis.flops import count_macs, count_params
from cait_mm.arch.cost import attention_cost, ffn_cost
from cait_mm.backbones import BACKBONES, CAITDeiT
from cait_mm.classification import Classifier
from cait_mm.macs import backbone_cost, classifier_cost, reduction
from cait_mm.models import classifier_backbone
from cait_mm.spec import Spec, make_spec

H, V = 'horizontal', 'vertical'


@pytest.mark.parametrize('arch,gmacs,params', [('deit_tiny', 1.258, 5.717), ('deit_small', 4.608, 22.051),
                                               ('deit_base', 17.58, 86.57)])
def test_dense_figures_of_the_design(arch, gmacs, params):
    cost = classifier_cost(Spec.dense(arch))
    assert cost.macs / 1e9 == pytest.approx(gmacs, abs=5e-3 if gmacs > 10 else 5e-4)
    assert cost.params / 1e6 == pytest.approx(params, abs=5e-3 if params > 50 else 5e-4)


TABLE = [  # design, section 5: arch, merges, reduction in %, parameters in millions
    ('deit_small', ((4, H), (8, V)), 41.1, 22.64),
    ('deit_small', ((4, H), (7, V)), 43.1, 22.64),
    ('deit_tiny', ((3, H), (7, V), (9, H)), 50.2, 5.94),
    ('deit_tiny', ((3, H), (7, H), (9, H)), 49.65, 5.94),
    ('deit_tiny', ((3, V), (7, V), (9, V)), 49.65, 5.94),
    ('deit_tiny', tuple((block, 'diagonal') for block in (3, 7, 9)), 49.2, 5.94),
    ('deit_tiny', ((5, 'symmetric'), (6, 'symmetric')), 50.7, 6.01),
    ('deit_small', ((3, H), (5, V), (8, H)), 54.6, 22.94),
]


@pytest.mark.parametrize('arch,merge,percent,params', TABLE)
def test_merging_figures_of_the_design(arch, merge, percent, params):
    spec = make_spec(arch, merge)
    assert 100 * reduction(spec) == pytest.approx(percent, abs=0.051)
    assert classifier_cost(spec).params / 1e6 == pytest.approx(params, abs=5e-3)


def test_tome_halving_after_attention_at_the_same_blocks():
    # The design's ToMe line: at blocks 4 and 7 attention sees all tokens and the FFN half of them.
    spec, tokens, macs = Spec.dense('deit_small'), 196, classifier_cost(Spec.dense('deit_small')).macs
    saved = 0
    for index, block in enumerate(spec.blocks):
        saved += attention_cost(384, block, 197).macs - attention_cost(384, block, tokens + 1).macs
        tokens = tokens // 2 if index in (4, 7) else tokens
        saved += ffn_cost(384, block, 197).macs - ffn_cost(384, block, tokens + 1).macs
    saved += 5 * 384 * (196 - tokens)
    assert 100 * saved / macs == pytest.approx(41.6, abs=0.051)


@pytest.mark.parametrize('arch,merge,percent,params', [
    ('deit_tiny', (), 31.2, 4.2), ('deit_small', (), 38.1, 13.9),
    ('deit_tiny', ((4, H), (8, V)), 50.5, 5.1), ('deit_small', ((4, H), (7, V)), 54.4, 18.4),
])
def test_even_widths_at_the_papers_reduction_leave_the_papers_parameters(arch, merge, percent, params):
    dense = make_spec(arch, merge).blocks[0]

    def cut(share):
        head = round(64 * (1 - share))
        return make_spec(arch, merge, head, head, round(dense.ffn_dim * (1 - share)))

    spec = min((cut(share / 200) for share in range(150)), key=lambda spec: abs(100 * reduction(spec) - percent))
    assert 100 * reduction(spec) == pytest.approx(percent, abs=0.5)
    assert classifier_cost(spec).params / 1e6 == pytest.approx(params, rel=0.05)


def test_even_widths_of_the_base_config_save_as_much_as_the_paper_but_leave_fewer_parameters():
    # The paper: 57.9 %, 7.4 G of 17.58 G, and 71.3 M parameters. Widths that are the same in every block cannot have
    # both: the paper's cuts fall on blocks with many tokens, where a parameter costs more MACs.
    spec = make_spec('deit_base', ((4, H), (7, V)), 48, 48, 2200)
    cost = classifier_cost(spec)
    assert 100 * reduction(spec) == pytest.approx(57.9, abs=0.1)
    assert cost.macs / 1e9 == pytest.approx(7.4, abs=0.05)
    assert cost.params / 1e6 == pytest.approx(65.8, abs=0.1)
    backbone = Config.fromfile(ROOT / 'configs' / 'upernet_cait_deit_b_ade20k.py').model.backbone
    assert make_spec('deit_base', backbone['merge'], backbone.qk_dim, backbone.v_dim, backbone.ffn_dim) == spec


@pytest.mark.parametrize('arch,merge,widths', [
    ('deit_tiny', (), {}), ('deit_small', ((4, H), (7, V)), {}),
    ('deit_tiny', tuple((block, 'diagonal') for block in (3, 7, 9)), {}),
    ('deit_tiny', ((5, 'symmetric'), (6, 'symmetric')), {}),
    ('deit_tiny', ((4, 'horizontal_conv'), (8, 'vertical_conv')), {}),
    ('deit_tiny', ((4, H), (8, V)), dict(qk_dim=[32, 40] * 6, v_dim=56, ffn_dim=700)),
    ('lvvit_s', (), {}), ('lvvit_s', ((4, H), (9, V)), dict(qk_dim=[32, 40] * 8, v_dim=56, ffn_dim=700)),
    ('swin_tiny', (), {}), ('swin_tiny', (('2.4', H), ('2.5', V)), {}),
    ('swin_tiny', (('2.1', H), ('2.3', V), ('2.4', H)), dict(qk_dim=[8, 24] * 6, v_dim=17, ffn_dim=300)),
])
def test_closed_form_equals_fvcore_and_the_module(arch, merge, widths):
    spec = make_spec(arch, merge, **widths)
    model = Classifier(dict(type=BACKBONES[spec.arch.family].__name__, spec=spec)).eval()
    counted, cost = count_macs(model, (torch.rand(1, 3, 224, 224),)), classifier_cost(spec)
    assert counted[''] == pytest.approx(cost.macs, rel=1e-3)
    assert count_params(model) == cost.params


@pytest.mark.parametrize('size', [(512, 512), (512, 683), (230, 111)])
@pytest.mark.parametrize('with_cls_token', [True, False])
def test_backbone_closed_form_at_any_size(size, with_cls_token):
    backbone = CAITDeiT('deit_tiny', ((4, H), (7, V)), with_cls_token=with_cls_token).eval()
    cost = backbone_cost(backbone.spec, size, with_cls_token)
    assert count_macs(backbone, (torch.rand(1, 3, *size),))[''] == pytest.approx(cost.macs, rel=1e-3)
    assert count_params(backbone) == cost.params


@pytest.mark.parametrize('size', [(512, 512), (512, 683), (230, 111)])
@pytest.mark.parametrize('arch,merge', [('lvvit_s', ((4, H), (9, V))), ('swin_tiny', (('2.1', H), ('2.4', V)))])
def test_closed_form_of_the_other_families_at_any_size(size, arch, merge):
    # final_norm stands for Swin's norms of the outputs, which a classifier has not.
    backbone = classifier_backbone(make_spec(arch, merge)).eval()
    cost, norm = backbone_cost(backbone.spec, size), backbone.norm
    assert count_macs(backbone, (torch.rand(1, 3, *size),))[''] == pytest.approx(cost.macs, rel=1e-3)
    assert count_params(backbone) - count_params(norm) == cost.params


def test_get_flops_and_plan_know_every_family(tool):
    words = ('--arch', 'swin_tiny', '--merge')
    status, out, _ = tool('get_flops.py', *words, '2.4:horizontal,2.5:vertical', '--json', '-')
    result = json.loads(out)
    assert status == 0 and result['merge'] == [['2.4', H], ['2.5', V]] and result['params'] == 28878946
    assert result['reduction'] == pytest.approx(0.203, abs=5e-4)
    for arch, target, kind in (('swin_small', 0.337, str), ('lvvit_s', 0.4, int)):
        status, out, _ = tool('plan.py', '--arch', arch, '--target', target, '--json', '-')
        result = json.loads(out)
        assert status == 0 and result['reduction'] == pytest.approx(target, abs=0.02)
        assert [type(block) for block, _ in result['merge']] == [kind] * len(result['merge'])
    status, _, err = tool('get_flops.py', *words, '1.0:horizontal')
    assert status == 2 and 'merge 1.0:horizontal: swin_tiny merges in stage 2' in err


def test_get_flops_and_plan_take_timms_names(tool):
    words = ('--arch', 'vit_small_patch16_dinov3', '--shape', 512, 512, '--json', '-')
    status, out, _ = tool('get_flops.py', *words, '--merge', '4:horizontal,8:vertical')
    result = json.loads(out)
    spec = make_spec('vit_small_patch16_dinov3', ((4, H), (8, V)))
    assert status == 0 and result['macs'] == classifier_cost(spec, (512, 512)).macs
    status, out, _ = tool('plan.py', *words, '--target', result['reduction'])
    assert status == 0 and json.loads(out)['merge'] == [[4, H], [8, V]]
    for name, why in (('samvit_base_patch16', 'its attention is in windows'), ('deit_huge', 'use one of')):
        for command in (('get_flops.py',), ('plan.py', '--target', 0.4)):
            status, _, err = tool(*command, '--arch', name)
            assert status == 2 and why in err and 'Traceback' not in err


def test_dense_deit_small_at_512_matches_the_design():
    dense, merged = Spec.dense('deit_small'), make_spec('deit_small', ((4, H), (7, V)))
    assert backbone_cost(dense, (512, 512)).macs / 1e9 == pytest.approx(31.8, abs=0.05)
    assert backbone_cost(merged, (512, 512)).macs / 1e9 == pytest.approx(16.9, abs=0.05)


def test_get_flops_counts_a_bare_classifier(tool):
    status, out, _ = tool('get_flops.py', '--arch', 'deit_small', '--merge', '4:horizontal,7:vertical', '--json', '-')
    result = json.loads(out)
    assert status == 0 and result['macs'] == classifier_cost(make_spec('deit_small', ((4, H), (7, V)))).macs
    assert result['dense_macs'] == classifier_cost(Spec.dense('deit_small')).macs
    assert result['reduction'] == pytest.approx(0.431, abs=5e-4) and result['params'] == 22641256


def test_get_flops_splits_a_config(tool, tmp_path):
    status, out, err = tool('get_flops.py', 'configs/upernet_atme_deit_t_ade20k.py', '--shape', 128, 160, '--json',
                            tmp_path / 'out.json')
    assert status == 0, err
    result = json.loads((tmp_path / 'out.json').read_text())
    assert 'backbone' in out
    spec = make_spec('deit_tiny', ((4, H), (8, V)))
    assert result['backbone']['macs'] == pytest.approx(backbone_cost(spec, (128, 160)).macs, rel=1e-3)
    parts = [result[name] for name in ('backbone', 'neck', 'head')]
    assert sum(part['macs'] for part in parts) == result['macs'] and all(part['macs'] > 0 for part in parts)
    assert sum(part['params'] for part in parts) + result['training_only_params'] == result['params']


HEADS = {
    'mask2former': ("_base_ = ['mmseg::mask2former/mask2former_r50_8xb2-160k_ade20k-512x512.py']\n"
                    'model = dict(backbone=dict(init_cfg=None))\n'),
    'mask_rcnn': ("_base_ = ['mmdet::mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py']\n"
                  'model = dict(backbone=dict(init_cfg=None), test_cfg=dict(rpn=dict(max_per_img=20)))\n'),
    'retinanet': ("_base_ = ['mmdet::retinanet/retinanet_r50_fpn_1x_coco.py']\n"
                  'model = dict(backbone=dict(init_cfg=None))\n'),
}


@pytest.mark.parametrize('name', HEADS)
def test_get_flops_counts_heads_of_both_libraries(tool, tmp_path, name):
    config = tmp_path / f'{name}.py'
    config.write_text(HEADS[name])
    status, out, err = tool('get_flops.py', config, '--shape', 128, 128, '--json', '-')
    assert status == 0, err
    result = json.loads(out)
    assert result['backbone']['macs'] > 1e9 and result['head']['macs'] > 1e7


@pytest.mark.parametrize('words,message', [
    (('configs/none.py',), 'config configs/none.py does not exist'),
    (('--arch', 'deit_small', '--merge', '99:horizontal'), 'deit_small has blocks 0 to 11'),
    (('configs/upernet_deit_t_ade20k.py', '--merge', '4:horizontal'), '--merge goes with --arch'),
    (('configs/upernet_deit_t_ade20k.py', '--cfg-options', 'model.backbone.foo=3'),
     'the model of config configs/upernet_deit_t_ade20k.py cannot be built: '),
    (('configs/upernet_deit_t_ade20k.py', '--cfg-options', 'foo'), '--cfg-options wants KEY=VALUE'),
    ((), 'either a config or --arch'),
])
def test_get_flops_refuses_in_a_sentence(tool, words, message):
    status, out, err = tool('get_flops.py', *words)
    assert status == 2 and message in err and 'Traceback' not in err and not out
