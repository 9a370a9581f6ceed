"""One training step of any config on random data, to be timed."""
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from mmengine.optim import build_optim_wrapper
from mmengine.structures import InstanceData, PixelData
from torch import nn

from cait_mm.analysis.modes import Mode
from cait_mm.config.load import building, is_classifier, load_config, without_parameter_lines
from cait_mm.engine.recipe import use_amp
from cait_mm.pruning.cdcp import CDCP
from cait_mm.tasks import Classification, Segmentation, build_model, task_of

OBJECTS = 8
"""Instances on every random picture of a detector."""


def training_step(path: str, cfg_options: Mapping[str, Any] | None, batch_size: int, shape: tuple[int, int],
                  mode: Mode) -> Callable[[], Any]:
    """A training step of a config without a teacher: forward, backward, Eq. 2 if CDCP prunes, and optimizer.

    CDCP rebuilds its masks as often as the config says, with a ramp that has reached its target. Images and labels are
    random, and so are weights. ``shape`` is the (H, W) of images; a classifier has its own. 16 bits are MMEngine's
    mixed precision, as with ``tools/train.py --amp``.

    Raises:
        UserError: The config cannot be read or built, or there is no GPU for 16 bits.
    """
    config = load_config(path, cfg_options)
    if is_classifier(config):
        config.model.distillation = None
    if mode.autocast:
        use_amp(config, mode.dtype)
    model = mode.prepare(build_model(config).train())
    with building('the optim_wrapper', config), without_parameter_lines():
        wrapper = build_optim_wrapper(model, config.optim_wrapper)
    batch = random_batch(model, batch_size, shape, mode)
    if getattr(model, 'cdcp', None):
        pruner = CDCP(model, total_steps=10**9, ramp_start=0, **model.cdcp.of_the_method())
        pruner.load_state_dict({'steps': pruner.ramp_end})
        pruner.attach(wrapper.optimizer, own_group=False)
    return lambda: model.train_step(batch, wrapper)


def random_batch(model: nn.Module, batch_size: int, shape: tuple[int, int], mode: Mode) -> dict[str, Any]:
    """A batch like those of the data loaders in the config's library."""
    task = task_of(model)
    if isinstance(task, Classification):
        return dict(inputs=mode.batch(batch_size, *task.shape, task.in_channels),
                    targets=torch.randint(model.num_classes, (batch_size,), device=mode.device))
    images = [torch.randint(256, (task.in_channels, *shape), dtype=torch.uint8) for _ in range(batch_size)]
    meta = dict(img_shape=shape, ori_shape=shape, pad_shape=shape, scale_factor=(1., 1.))
    sample = _labels if isinstance(task, Segmentation) else _objects
    if hasattr(model.data_preprocessor, 'size'):
        model.data_preprocessor.size = shape  # training pictures are padded to it
    return dict(inputs=images, data_samples=[sample(model, meta) for _ in range(batch_size)])


def _labels(model: nn.Module, meta: dict[str, Any]) -> Any:
    """A label map of squares, as coarse as a sixteenth of the picture."""
    from mmseg.structures import SegDataSample
    height, width = meta['img_shape']
    coarse = torch.randint(model.decode_head.num_classes, (16, 16))
    rows, columns = (torch.arange(side) * 16 // side for side in (height, width))
    return SegDataSample(gt_sem_seg=PixelData(data=coarse[rows][:, columns][None]), metainfo=meta)


def _objects(model: nn.Module, meta: dict[str, Any]) -> Any:
    """Rectangles of a quarter of each side."""
    from mmdet.structures import DetDataSample
    from mmdet.structures.mask import BitmapMasks
    height, width = meta['img_shape']
    boxes: list[list[int]] = []
    masks = np.zeros((OBJECTS, height, width), np.uint8)
    for mask in masks:
        top, left = (int(torch.randint(side - side // 4, ())) for side in (height, width))
        boxes.append([left, top, left + width // 4, top + height // 4])
        mask[top:top + height // 4, left:left + width // 4] = 1
    instances = InstanceData(bboxes=torch.tensor(boxes, dtype=torch.float32), labels=torch.zeros(OBJECTS).long(),
                             masks=BitmapMasks(masks, height, width))
    return DetDataSample(gt_instances=instances, metainfo=meta)
