"""Any MMSeg or MMDet model as the two callables that are counted and timed: encoder and overall."""
from typing import Any, Dict, List, Tuple

import torch
from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import MODELS, DefaultScope
from torch import Tensor, nn

from cait_mm.errors import UserError


class Encoder(nn.Module):
    """Backbone and neck: image (B, 3, H, W) -> tuple of maps (the paper's "backbone, upsampling and downsampling")."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tuple[Tensor, ...]:
        return tuple(self.model.extract_feat(x))


class Overall(nn.Module):
    """The whole prediction on a preprocessed batch (B, 3, H, W).

    A segmentor gives logits at the input's size. A detector runs through its heads, proposals included, up to the raw
    outputs; how many proposals there are depends on the weights.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> List[Tensor]:
        metas = _metas(x)
        if hasattr(self.model, 'encode_decode'):
            return [self.model.encode_decode(x, metas)]
        from mmdet.structures import DetDataSample
        samples = [DetDataSample(metainfo=meta) for meta in metas]
        return _tensors(self.model.forward(x, samples, mode='tensor'))


def build_model(config: Config) -> nn.Module:
    """The config's model in eval mode on the CPU, with random weights and SyncBN as BN; nothing is downloaded.

    Raises:
        UserError: The config has no model of a segmentor or detector.
    """
    if 'model' not in config:
        raise UserError('the config has no model.')
    scope = DefaultScope.get_current_instance()
    with MODELS.switch_scope_and_registry(scope.scope_name if scope else None) as registry:
        model = registry.build(config.model)
    if not hasattr(model, 'extract_feat'):
        raise UserError(f'{type(model).__name__} is neither a segmentor nor a detector: it has no extract_feat.')
    return revert_sync_batchnorm(model).eval()


def _metas(x: Tensor) -> List[Dict[str, Any]]:
    shape = tuple(int(side) for side in x.shape[-2:])
    meta = dict(img_shape=shape, ori_shape=shape, pad_shape=shape, batch_input_shape=shape, scale_factor=(1., 1.),
                padding_size=[0, 0, 0, 0])
    return [dict(meta) for _ in range(len(x))]


def _tensors(outputs: Any) -> List[Tensor]:
    """Every tensor in nested lists, tuples, dicts and MMEngine instances, flattened."""
    if isinstance(outputs, torch.Tensor):
        return [outputs]
    if isinstance(outputs, dict):
        outputs = list(outputs.values())
    elif hasattr(outputs, 'all_items'):
        outputs = [value for _, value in outputs.all_items()]
    if isinstance(outputs, (list, tuple)):
        return [tensor for item in outputs for tensor in _tensors(item)]
    return []
