"""A merged backbone gives heads the same channels, shapes and strides as the dense one, at any size."""
import pytest
import torch
from conftest import CONFIGS
from mmengine.registry import MODELS

from cait_mm.config.load import load_config

SIZES = [(512, 512), (512, 683), (800, 1333), (896, 896), (224, 224), (352, 352)]
TWINS = [('fpn_cait_deit_s_ade20k', 'fpn_deit_s_ade20k'), ('upernet_cait_deit_s_ade20k', 'upernet_deit_s_ade20k'),
         ('mask2former_cait_deit_s_ade20k', 'mask2former_deit_s_ade20k'),
         ('mask_rcnn_cait_deit_s_coco', 'mask_rcnn_deit_s_coco'),
         ('cascade_mask_rcnn_atme_swin_t_coco', 'cascade_mask_rcnn_swin_t_coco'),
         ('upernet_cait_swin_t_ade20k', 'upernet_swin_t_ade20k'),
         ('mask2former_cait_dinov2_s_ade20k', 'mask2former_dinov2_s_ade20k'),
         ('upernet_cait_dinov3_s_ade20k', 'upernet_dinov3_s_ade20k'),
         ('vitdet_cait_vit_b_coco', 'vitdet_vit_b_coco'),
         ('cascade_decoder_cait_deit_s_synapse', 'cascade_decoder_deit_s_synapse'),
         ('cascade_decoder_cait_swin_t_polyp', 'cascade_decoder_swin_t_polyp')]


def encoder(name):
    """Backbone and necks of a config, without memory behind their weights: shapes are all that is asked."""
    model = load_config(str(CONFIGS[name])).model
    model.backbone.pop('init_cfg', None)
    necks = model.get('neck') or []
    library = 'mmdet' if name.endswith('_coco') else 'mmseg'
    with MODELS.switch_scope_and_registry(library) as registry, torch.device('meta'):
        return [registry.build(part).eval() for part in
                (model.backbone, *(necks if isinstance(necks, list) else [necks]))]


@pytest.mark.parametrize('merged,dense', TWINS)
def test_heads_see_the_dense_maps(merged, dense):
    twins = [encoder(name) for name in (merged, dense)]
    assert twins[0][0].spec.merges and not twins[1][0].spec.merges
    for size in SIZES:
        shapes = []
        for parts in twins:
            maps = torch.empty(1, 3, *size, device='meta')
            for part in parts:
                maps = part(maps)
            shapes.append([tuple(item.shape) for item in maps])
        assert shapes[0] == shapes[1], size
        for stride, shape in zip((4, 8, 16, 32), shapes[0]):
            assert shape[-2:] == tuple(at_stride(side, stride, twins[1][0].arch) for side in size), size


def at_stride(side, stride, arch):
    """A side of the map: Swin rounds up at every stage, the pyramid makes multiples and halves of one grid."""
    return -(-side // stride) if arch.family == 'swin' else -(-side // arch.patch_size) * 16 // stride
