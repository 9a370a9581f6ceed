"""Layer-wise learning-rate decay for every backbone that can tell the depth of its parameters."""

from mmengine.dist import get_dist_info
from mmengine.logging import print_log
from mmengine.optim import DefaultOptimWrapperConstructor
from mmengine.registry import OPTIM_WRAPPER_CONSTRUCTORS
from torch import nn

from cait_mm.errors import UserError
from cait_mm.utils.schema import is_number

EMBEDDINGS = ('cls_token', 'dist_token', 'reg_token', 'pos_embed')


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class LayerDepthDecayConstructor(DefaultOptimWrapperConstructor):
    """Multiply the learning rate of layer l of n by ``decay_rate ** (n - 1 - l)``; heads keep the full rate.

    ``optim_wrapper=dict(constructor='LayerDepthDecayConstructor', paramwise_cfg=dict(decay_rate=0.75), ...)``. Layers
    come from the backbone's ``get_layer_depth``. Biases, norms, tokens in front of the patches and
    embeddings, those of a head's queries too, get no weight decay.
    """

    def __init__(self, optim_wrapper_cfg: dict, paramwise_cfg: dict | None = None) -> None:
        super().__init__(optim_wrapper_cfg, paramwise_cfg)
        rate = self.paramwise_cfg.get('decay_rate')
        if not is_number(rate, 0, 1) or rate == 0:
            raise UserError('LayerDepthDecayConstructor needs paramwise_cfg=dict(decay_rate=...), above 0 and at most '
                            f'1; it is {rate!r}.')

    def add_params(self, params: list[dict], module: nn.Module, prefix: str = '',
                   is_dcn_module: bool | None = None) -> None:
        rate, backbone = self.paramwise_cfg['decay_rate'], getattr(module, 'backbone', None)
        if not hasattr(backbone, 'get_layer_depth'):
            raise UserError('LayerDepthDecayConstructor needs a model whose backbone has get_layer_depth, such as '
                            'CAITDeiT.')
        learned = {id(inner.weight) for inner in module.modules() if isinstance(inner, nn.Embedding)}
        groups = {}
        for name, parameter in module.named_parameters():
            if not parameter.requires_grad:
                continue
            layer, layers = backbone.get_layer_depth(name, 'backbone.')
            no_decay = parameter.ndim <= 1 or name.endswith(EMBEDDINGS) or id(parameter) in learned
            scale = rate**(layers - 1 - layer)
            group = groups.setdefault((layer, no_decay), {
                'params': [], 'lr': self.base_lr * scale, 'weight_decay': 0. if no_decay else self.base_wd})
            group['params'].append(parameter)
        params.extend(groups[key] for key in sorted(groups))
        if get_dist_info()[0] == 0:
            first = min(group['lr'] for group in params)
            print_log(f'layer-wise decay {rate}: learning rates {first:.3g} to {self.base_lr:.3g}', logger='current')
