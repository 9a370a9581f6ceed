"""The parts of a model that can be exported, and the description that a user of the file needs."""
from collections.abc import Sequence
from typing import Any

import torch
from mmcv.cnn.utils.fuse_conv_bn import fuse_conv_bn
from torch import Tensor, nn

from cait_mm.errors import UserError
from cait_mm.tasks import Backbone, Overall, task_of

PARTS = ('overall', 'backbone')


class Logits(Overall):
    """A classifier or segmentor without the parts for training: normalised images (B, C, H, W) -> logits."""

    def forward(self, images: Tensor) -> Tensor:
        return self.task.predict(images, count=1)[0]  # the number of images is no constant of the graph


def deployed(model: nn.Module) -> nn.Module:
    """``model`` without the parts for training, changed in place: in eval mode, batch norms folded into convolutions,
    auxiliary heads dropped.
    """
    if getattr(model, 'auxiliary_head', None) is not None:
        del model.auxiliary_head
    return fuse_conv_bn(model.eval())


def deployable(model: nn.Module, part: str) -> nn.Module:
    """The part of ``model`` to export, see :func:`deployed`.

    Raises:
        UserError: ``overall`` of a detector was asked for.
    """
    if part == 'overall' and not task_of(model).fixed:
        raise UserError('a detector\'s proposals and suppression differ from picture to picture, which no fixed graph '
                        'holds: export `part=backbone`.')
    return {'overall': Logits, 'backbone': Backbone}[part](deployed(model)).eval()


def about_model(part: str, shape: tuple[int, int], macs: int, params: int, preprocessor: nn.Module | None,
                classes: Sequence[str] | None) -> dict[str, Any]:
    """The description for users of the file: the part, size, normalisation, MACs and classes."""
    about: dict[str, Any] = {'part': part, 'shape': list(shape), 'macs': macs, 'params': params}
    for key in ('mean', 'std'):
        values = getattr(preprocessor, key, None)
        if values is not None:
            about[key] = [round(float(value), 4) for value in torch.as_tensor(values).flatten()]
    if classes:
        about['classes'] = list(classes)
    return about
