"""How models run while they are timed: device, precision, compilation, memory layout, attention kernels."""
from collections import Counter
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any, Callable, Dict, Iterator

import torch
from torch import nn

from cait_mm.errors import UserError
from cait_mm.ops.attention import set_fused_attn

DTYPES = {'float32': torch.float32, 'bfloat16': torch.bfloat16, 'float16': torch.float16}


@dataclass(frozen=True)
class Mode:
    """One way to run a model, the same for all models of a comparison.

    Args:
        device: ``cpu`` or ``cuda``.
        dtype: ``float32``, or the 16-bit type of autocast, as MMEngine's mixed precision runs it.
        compile: ``off``, ``backbone`` (one graph, or an error) or ``all``.
        channels_last: Memory format of images, maps and convolutions.
        attention: ``fused``, or ``eager`` for backbones with the unfused products and softmax that the paper measured.
        tf32: Let float32 products use TF32 on a GPU.
    """
    device: str = 'cpu'
    dtype: str = 'float32'
    compile: str = 'off'
    channels_last: bool = False
    attention: str = 'fused'
    tf32: bool = True

    def __post_init__(self) -> None:
        if self.device == 'cuda' and not torch.cuda.is_available():
            raise UserError('--device cuda: there is no GPU here that PyTorch can use.')

    def prepare(self, model: nn.Module) -> nn.Module:
        """Move, lay out and, where asked for, compile the backbone of ``model``; all in place."""
        model.to(self.device)
        set_fused_attn(model, self.attention == 'fused')
        if self.channels_last:
            model.to(memory_format=torch.channels_last)
        if self.compile == 'backbone':
            model.backbone.compile(fullgraph=True)
        return model

    def prepare_part(self, part: nn.Module) -> nn.Module:
        """Compile the whole of what is timed, where asked for."""
        if self.compile == 'all':
            part.compile()
        return part

    def batch(self, size: int, height: int, width: int) -> torch.Tensor:
        """Random images (size, 3, height, width) as this mode wants them."""
        images = torch.rand(size, 3, height, width, device=self.device)
        return images.to(memory_format=torch.channels_last) if self.channels_last else images

    @contextmanager
    def running(self) -> Iterator[None]:
        """The precision of this mode, for as long as it is open."""
        before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = self.tf32
        try:
            with torch.autocast(self.device, DTYPES[self.dtype], enabled=self.dtype != 'float32'):
                yield
        finally:
            torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before

    def to_dict(self) -> Dict[str, Any]:
        return asdict(self)


def attention_kernels(call: Callable[[], Any]) -> Dict[str, int]:
    """The attention kernels that ``call`` runs and how often, by PyTorch's names without their common prefix."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        call()
    prefix, found = 'aten::_scaled_dot_product_', Counter()
    for event in profile.key_averages():
        name = event.key.removeprefix(prefix)
        if event.key.startswith(prefix) and not name.endswith('_backward'):
            found[name] += event.count
    return dict(found)
