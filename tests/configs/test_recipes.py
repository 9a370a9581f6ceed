"""Full recipes against the numbers of the public code that their comments name.

XCiT: facebookresearch/xcit 82f5291. Swin: SwinTransformer/Swin-Transformer-Semantic-Segmentation 87e6f90,
SwinTransformer/Swin-Transformer-Object-Detection c7b2011, microsoft/Swin-Transformer f82860b. PVT: whai362/PVT 57e2dfa.
RSP: ViTAE-Transformer/RSP f298187. CASCADE: SLDGroup/CASCADE d3f050a. DeiT: facebookresearch/deit 7e160fe. VTC-LFC:
Daner-Wang/VTC-LFC cfea7ee. LV-ViT: zihangJiang/TokenLabeling 9dbfd59. Mask2Former: open-mmlab/mmsegmentation v1.2.2.
"""
import pytest
import torch
from conftest import CONFIGS, ModelOwner
from mmengine.config import Config
from mmengine.runner import Runner
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from cait_mm.analysis.flops import count_macs
from cait_mm.config.load import load_config
from cait_mm.macs import backbone_cost
from cait_mm.spec import make_spec
from cait_mm.tasks import build_model, parts_of


def read(name):
    return load_config(str(CONFIGS[name]))


def built(name):
    config = read(name)
    config.model.backbone.pop('init_cfg', None)
    return config, build_model(config)


@pytest.mark.parametrize('kind', ['', 'atme_', 'cait_'])
def test_semantic_fpn_is_as_wide_as_the_vit(kind):
    """sem_fpn/sem_fpn_xcit_small_12_p16_80k_ade20k.py and _base_/models/sem_fpn_xcit_p16.py of XCiT."""
    model = read(f'fpn_{kind}deit_s_ade20k').model
    pyramid, fpn = model.neck
    assert pyramid.embed_dim == 384 and (list(fpn.in_channels), fpn.out_channels, fpn.num_outs) == ([384] * 4, 384, 4)
    head = model.decode_head
    assert (list(head.in_channels), head.channels, head.dropout_ratio) == ([384] * 4, 128, 0.1)
    assert list(head.feature_strides) == [4, 8, 16, 32] and list(model.backbone.out_indices) == [3, 5, 7, 11]
    assert read(f'fpn_{kind}deit_s_ade20k').train_cfg.max_iters == 80000


def test_macs_of_semantic_fpn_are_its_comments():
    """Positions of the four maps at 512x512 times weights, of 1x1 laterals and 3x3 outputs."""
    _, model = built('fpn_deit_s_ade20k')
    positions = sum((512 // stride)**2 for stride in (4, 8, 16, 32))
    fpn = positions * (384 * 384 + 9 * 384 * 384)
    pyramid = model.neck[0]
    image = torch.rand(1, 3, 512, 512)
    macs = {part: count_macs(module, (image,))[''] for part, module in parts_of(model).items()}
    backbone = count_macs(model.backbone, (image,))['']
    maps = [torch.rand(1, 384, 32, 32)] * 4
    assert macs['encoder'] == pytest.approx(backbone + count_macs(pyramid, (maps,))[''] + fpn, rel=1e-3)
    assert (fpn / 1e9, (macs['overall'] - macs['encoder']) / 1e9) == (pytest.approx(32.1, abs=0.05),
                                                                      pytest.approx(11.5, abs=0.05))


@pytest.mark.parametrize('name, rates', [
    ('fpn_deit_s_ade20k', [0.05] * 12), ('upernet_deit_s_ade20k', [0.05] * 12),
    ('upernet_cait_deit_s_ade20k', [0.05] * 12), ('mask2former_deit_s_ade20k', [0.05] * 12),
    ('upernet_deit_t_ade20k', [0.] * 12)])
def test_stochastic_depth_is_xcits(name, rates):
    """backbone/xcit.py has ``dpr = [drop_path_rate for i in range(depth)]``; S12 has 0.05, T12 has 0.0."""
    _, model = built(name)
    assert model.backbone.drop_path_rates == rates


def test_dense_optimizer_is_swins_and_xcits():
    """Both: AdamW 6e-5, betas, 0.01; norms of the backbone do not decay; 1500 iterations from 1e-6; poly 1.0 to 0."""
    config, model = built('upernet_swin_t_ade20k')
    optimizer = config.optim_wrapper.optimizer
    assert (optimizer.lr, tuple(optimizer.betas), optimizer.weight_decay) == (6e-5, (0.9, 0.999), 0.01)
    warm_up, decay = config.param_scheduler
    assert (warm_up.start_factor, warm_up.end, decay.power, decay.eta_min, decay.begin) == (1e-6, 1500, 1.0, 0, 1500)
    wrapper = Runner.build_optim_wrapper(ModelOwner(model), config.optim_wrapper)
    decays = {id(group['params'][0]): group['weight_decay'] for group in wrapper.optimizer.param_groups}
    for name, module in model.named_modules():
        if isinstance(module, (nn.LayerNorm, _BatchNorm)):
            expected = 0 if isinstance(module, nn.LayerNorm) else 0.01  # ConvModule calls its norm bn
            assert {decays[id(parameter)] for parameter in module.parameters()} == {expected}, name
    assert config.train_dataloader.batch_size == 16 and config.model.backbone.drop_path_rate == 0.3


def test_mask2former_decays_no_norm_and_no_embedding():
    """configs/mask2former/mask2former_r50_8xb2-160k_ade20k-512x512.py."""
    config, model = built('mask2former_deit_s_ade20k')
    wrapper = Runner.build_optim_wrapper(ModelOwner(model), config.optim_wrapper)
    decays = {id(group['params'][0]): group['weight_decay'] for group in wrapper.optimizer.param_groups}
    free = {name for name, parameter in model.named_parameters() if decays[id(parameter)] == 0}
    assert {f'decode_head.{key}.weight' for key in ('query_embed', 'query_feat', 'level_embed')} <= free
    for name, module in model.named_modules():
        if isinstance(module, (nn.LayerNorm, nn.GroupNorm, _BatchNorm)):
            assert {f'{name}.weight', f'{name}.bias'} <= free
    assert (config.optim_wrapper.clip_grad.max_norm, config.model.decode_head.num_queries) == (0.01, 100)


def test_mask_rcnn_is_pvts():
    """detection/configs/mask_rcnn_pvt_s_fpn_1x_coco.py and schedule_1x.py, which the paper follows; pvt.py has 0.1."""
    config, model = built('mask_rcnn_deit_s_coco')
    optimizer, (warm_up, steps) = config.optim_wrapper.optimizer, config.param_scheduler
    assert (optimizer.lr, optimizer.weight_decay) == (2e-4, 1e-4)
    assert (warm_up.end, warm_up.start_factor, list(steps.milestones)) == (500, 1e-3, [8, 11])
    assert model.backbone.drop_path_rates[-1] == pytest.approx(0.1) and model.backbone.drop_path_rates[0] == 0


@pytest.mark.parametrize('size', ['t', 's'])
def test_cascade_mask_rcnn_is_swins(size):
    """configs/swin/cascade_mask_rcnn_swin_SIZE_patch4_window7_mstrain_480-800_giou_4conv1f_adamw_3x_coco.py."""
    config = read(f'cascade_mask_rcnn_swin_{size}_coco')
    optimizer, (warm_up, steps) = config.optim_wrapper.optimizer, config.param_scheduler
    assert (optimizer.lr, optimizer.weight_decay, config.model.backbone.drop_path_rate) == (1e-4, 0.05, 0.2)
    assert (warm_up.end, warm_up.start_factor, list(steps.milestones), steps.end) == (500, 1e-3, [27, 33], 36)
    model = config.model
    assert (model.train_cfg.rpn.allowed_border, model.train_cfg.rpn_proposal.max_per_img) == (0, 2000)
    assert model.rpn_head.loss_bbox.type == 'SmoothL1Loss' and model.rpn_head.loss_bbox.beta == pytest.approx(1 / 9)
    for head, std in zip(model.roi_head.bbox_head, (0.1, 0.05, 0.033)):
        assert (head.num_shared_convs, head.num_shared_fcs, head.reg_class_agnostic, head.reg_decoded_bbox) == (
            4, 1, False, True)
        assert (head.loss_bbox.type, head.loss_bbox.loss_weight, head.bbox_coder.target_stds[0]) == (
            'GIoULoss', 10.0, std)
    short, long = config.train_dataloader.dataset.pipeline[3].transforms[0][0].scales[0]
    assert (short, long) == (480, 1333)


@pytest.mark.parametrize('name', ['upernet_swin_t_isaid', 'upernet_swin_t_potsdam'])
def test_aerial_recipes_are_rsps(name):
    """configs/swin/upernet_swin_tiny_patch4_window7_imp_SIZE_80k_DATA.py and _base_/datasets/DATA.py."""
    config = read(name)
    assert config.model.backbone.drop_path_rate == 0.3 and config.train_cfg.max_iters == 80000
    steps = {step.type: step for step in config.train_dataloader.dataset.pipeline}
    if 'isaid' in name:
        assert tuple(steps['Resize'].scale) == tuple(steps['RandomCrop'].crop_size) == (896, 896)
        assert 'cat_max_ratio' not in steps['RandomCrop'] and config.model.decode_head.num_classes == 16
    else:
        assert tuple(steps['RandomResize'].scale) == (512, 512)
        assert tuple(steps['RandomResize'].ratio_range) == (0.5, 2.0) and steps['RandomCrop'].cat_max_ratio == 0.75
        assert config.model.decode_head.num_classes == 5


@pytest.mark.parametrize('family', ['deit_s', 'swin_t'])
def test_medical_recipes_are_cascades(family):
    """train_polyp.py, trainer.py, train_ACDC.py and utils/dataset_ACDC.py; lib/pvtv2.py drops paths up to 0.1."""
    polyp, acdc = read(f'cascade_decoder_{family}_polyp'), read(f'cascade_decoder_{family}_acdc')
    loss, = polyp.model.decode_head.loss_decode
    assert loss.type.endswith('StructureLoss') and loss.get('entropy', 'mean') == 'mean'
    assert dict(polyp.optim_wrapper.clip_grad) == dict(type='value', clip_value=0.5)
    assert 'param_scheduler' not in polyp and 'param_scheduler' not in acdc
    assert [item.loss_weight for item in acdc.model.decode_head.loss_decode] == [0.3, 0.7]
    assert acdc.model.backbone.drop_path_rate == 0.1
    choice = acdc.train_dataloader.dataset.pipeline[2]
    assert list(choice.prob) == [0.5, 0.5] and choice.transforms[1][0].degree == 20
    # our own scores are the default, CASCADE's an option
    assert polyp.val_evaluator.get('protocol', 'plain') == 'plain' and acdc.model.type == 'EncoderDecoder'


def test_classification_is_deits():
    """main.py of DeiT and pruning/pruning_py/pruning_deit.py of VTC-LFC: the same defaults."""
    config = read('deit_s_600e_imagenet')
    warm_up, cosine = config.param_scheduler
    rate = config.optim_wrapper.optimizer.lr
    assert rate * warm_up.start_factor == pytest.approx(1e-6) and (warm_up.end, cosine.eta_min) == (5, 1e-5)
    steps = config.train_dataloader.dataset.transform
    assert steps.auto_augment.replace('-mmax9', '') == 'rand-m9-mstd0.5-inc1'
    assert (steps.re_prob, steps.re_mode, steps.interpolation) == (0.25, 'pixel', 'bicubic')
    assert config.train_dataloader.sampler.num_repeats == 3 and config.model.backbone.drop_path_rate == 0.1
    scratch = read('atme_deit_t_scratch_imagenet')
    assert scratch.optim_wrapper.optimizer.lr * scratch.param_scheduler[0].start_factor == pytest.approx(1e-6)
    # LV-ViT: README.md's --drop-path, tlt/models/lvvit.py's crop_pct
    for size, drop_path, crop in (('s', 0.1, 0.9), ('m', 0.2, 1.0)):
        config = read(f'lvvit_{size}_600e_imagenet')
        assert (config.model.backbone.drop_path_rate, config.val_dataloader.dataset.transform.crop_pct) == (
            drop_path, crop)


def test_scratch_is_swins():
    """config.py: rates of a batch of 512 times two, from 1e-6 to 1e-5."""
    config = read('atme_swin_t_scratch_imagenet')
    warm_up, cosine = config.param_scheduler
    assert 1e-3 * warm_up.start_factor == pytest.approx(1e-6) and (warm_up.end, cosine.eta_min) == (20, 1e-5)
    assert config.optim_wrapper.optimizer.weight_decay == 0.05


@pytest.mark.parametrize('family', ['dinov2_s', 'dinov3_b'])
def test_linear_heads_are_dinov2s(family):
    """dinov2_vits14_ade20k_linear_config.py and dinov3/eval/segmentation/config.py: batches of 16, windows of 512."""
    config = read(f'linear_{family}_ade20k')
    optimizer, (warm_up, decay) = config.optim_wrapper.optimizer, config.param_scheduler
    assert (optimizer.type, optimizer.lr, optimizer.weight_decay) == ('AdamW', 1e-3, 1e-4)
    assert (warm_up.start_factor, warm_up.end, decay.power, decay.end, config.train_cfg.max_iters) == (
        1e-6, 1500, 1.0, 40000, 40000)
    assert config.train_dataloader.batch_size == 16 == config.auto_scale_lr.base_batch_size
    backbone, test = config.model.backbone, config.model.test_cfg
    assert (list(backbone.out_indices), backbone.final_norm, backbone.frozen_stages) == ([11], True, 12)
    side = 518 if 'dinov2' in family else 512
    assert (test.mode, tuple(test.crop_size), tuple(test.stride)) == ('slide', (side, side), (341, 341))


@pytest.mark.parametrize('name', ['upernet_dinov2_b_ade20k', 'mask2former_dinov3_s_ade20k'])
def test_plain_vits_are_fine_tuned_as_mae(name):
    """configs/mae/mae-base_upernet_8xb2-amp-160k_ade20k-512x512.py of MMSegmentation."""
    config = read(name)
    optimizer, wrapper = config.optim_wrapper.optimizer, config.optim_wrapper
    assert (optimizer.lr, optimizer.weight_decay, dict(wrapper.paramwise_cfg)) == (1e-4, 0.05, dict(decay_rate=0.65))
    assert (config.train_dataloader.batch_size, config.train_cfg.max_iters) == (16, 160000)
    assert (config.model.backbone.drop_path_rate, list(config.model.backbone.out_indices)) == (0.1, [3, 5, 7, 11])


def test_vitdet_is_vitdets():
    """projects/ViTDet/configs of detectron2 (mask_rcnn_vitdet_b_100ep.py) and of MMDetection, attention aside."""
    config = read('vitdet_vit_b_coco')
    optimizer, (warm_up, steps) = config.optim_wrapper.optimizer, config.param_scheduler
    assert (optimizer.lr, optimizer.weight_decay, config.optim_wrapper.paramwise_cfg.decay_rate) == (1e-4, 0.1, 0.7)
    iterations = 184375 / 100
    assert list(steps.milestones) == [round(step / iterations) for step in (163889, 177546)] and warm_up.end == 250
    assert config.train_dataloader.batch_size == 64 == config.auto_scale_lr.base_batch_size
    resize, crop = config.train_dataloader.dataset.pipeline[3:5]
    assert (tuple(resize.scale), tuple(resize.ratio_range), tuple(crop.crop_size)) == (
        (1024, 1024), (0.1, 2.0), (1024, 1024))
    head = config.model.roi_head
    assert (config.model.rpn_head.num_convs, head.bbox_head.type, head.mask_head.norm_cfg.type) == (
        2, 'Shared4Conv1FCBBoxHead', 'LN2d')
    assert config.model.backbone.drop_path_rate == 0.1 and list(config.model.backbone.out_indices) == [11]


def test_costs_of_attention_in_vitdets_comment():
    """Two products of 4096 tokens, or of 25 windows of 14x14 in eight blocks; the map is padded from 64 to 70."""
    everywhere, windows = 12 * 2 * 4096**2 * 768, 8 * 25 * 2 * 196**2 * 768
    comment = (CONFIGS['vitdet_vit_b_coco'].parent / '_base_/models/vitdet.py').read_text()
    for macs in (everywhere, everywhere / 3 + windows, everywhere * 2 / 3 - windows,
                 backbone_cost(make_spec('vit_base_patch16_224.mae'), (1024, 1024)).macs):
        assert f'{macs / 1e9:.1f}' in comment


@pytest.mark.parametrize('name, size', [
    ('dinov2_small', 518), ('dinov2_base', 518), ('dinov3_small', 512), ('dinov3_base', 512), ('dinov3_base', 1024),
    ('vit_base', 1024), ('vit_tiny', (256, 352)), ('small_dinov2', 322), ('small_dinov3', 320)])
def test_savings_are_those_in_the_comments(name, size):
    path = CONFIGS['vitdet_vit_b_coco'].parent / f'_base_/backbones/{name}.py'
    described, size = Config.fromfile(path)[name], size if isinstance(size, tuple) else (size, size)
    arch = described['dense']['arch']
    arch = arch if isinstance(arch, str) else dict(arch, family='vit')
    keys = ('merge', 'qk_dim', 'v_dim', 'ffn_dim')
    dense, atme, cait = (backbone_cost(make_spec(arch, **{key: item[key] for key in keys if key in item}), size)
                         for item in ({}, described['atme'], described['cait']))
    comment = ' '.join(line[2:] for line in path.read_text().splitlines() if line.startswith('#'))
    for cost in (atme, cait):
        assert f'{1 - cost.macs / dense.macs:.1%}'.replace('%', ' %') in comment
    assert f'{dense.macs / 1e9:.2f}' in comment or f'{dense.macs / 1e9:.1f}' in comment
