"""How models run while they are timed: device, precision, compilation, memory layout, attention kernels."""
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn

from cait_mm.errors import UserError, reason_of
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
        weights: ``float32`` under autocast, or ``same``: also in ``dtype``, without autocast.
        cuda_graph: Record each call once and replay it, without the time of Python; shapes have to be fixed.

    Raises:
        UserError: A mode needs a GPU and there is none.
    """
    device: str = 'cpu'
    dtype: str = 'float32'
    compile: str = 'off'
    channels_last: bool = False
    attention: str = 'fused'
    tf32: bool = True
    weights: str = 'float32'
    cuda_graph: bool = False

    def __post_init__(self) -> None:
        if self.device == 'cuda' and not torch.cuda.is_available():
            raise UserError('`device=cuda`: there is no GPU here that PyTorch can use.')
        if self.cuda_graph and self.device != 'cuda':
            raise UserError('`cuda_graph=True` records the work of a GPU: give `device=cuda`.')

    @property
    def autocast(self) -> bool:
        """Whether autocast gives the 16 bits."""
        return self.dtype != 'float32' and self.weights == 'float32'

    @property
    def held(self) -> torch.dtype:
        """The type of weights and images."""
        return torch.float32 if self.autocast else DTYPES[self.dtype]

    def prepare(self, model: nn.Module) -> nn.Module:
        """Move, lay out and, in that mode, compile the backbone of ``model``; all in place."""
        model.to(self.device, self.held)
        set_fused_attn(model, self.attention == 'fused')
        if self.channels_last:
            model.to(memory_format=torch.channels_last)
        if self.compile == 'backbone':
            model.backbone.compile(fullgraph=True)
            if hasattr(model.backbone, 'forward_tokens'):  # a classifier's way in
                model.backbone.forward_tokens = torch.compile(model.backbone.forward_tokens, fullgraph=True)
        return model

    def prepare_part(self, part: nn.Module) -> nn.Module:
        """Compile a part that is timed, in that mode."""
        if self.compile == 'all':
            part.compile()
        return part

    def recorded(self, call: Callable[[], Any]) -> Callable[[], Any]:
        """``call``, or in that mode the replay of its CUDA graph. Use it while the mode is :meth:`running`.

        Raises:
            UserError: It cannot be recorded: it waits for the GPU, or its work differs from call to call.
        """
        if not self.cuda_graph:
            return call
        try:
            with torch.inference_mode():
                side = torch.cuda.Stream()
                side.wait_stream(torch.cuda.current_stream())
                with torch.cuda.stream(side):
                    for _ in range(3):
                        call()
                torch.cuda.current_stream().wait_stream(side)
                graph = torch.cuda.CUDAGraph()
                with torch.cuda.graph(graph):
                    call()
        except RuntimeError as error:
            raise UserError(f'`cuda_graph=True`: this cannot be recorded ({reason_of(error)}); time '
                            '`parts=(backbone, encoder)`, or leave it out.') from error
        return graph.replay

    def batch(self, size: int, height: int, width: int, channels: int = 3) -> torch.Tensor:
        """Random images (size, channels, height, width) for this mode."""
        images = torch.rand(size, channels, height, width, device=self.device, dtype=self.held)
        return images.to(memory_format=torch.channels_last) if self.channels_last else images

    @contextmanager
    def running(self, autocast: bool = True) -> Iterator[None]:
        """A context with the precision of this mode; ``autocast=False`` if the caller enters autocast itself.
        """
        before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = self.tf32
        try:
            with torch.autocast(self.device, DTYPES[self.dtype], enabled=autocast and self.autocast):
                yield
        finally:
            torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def attention_kernels(call: Callable[[], Any]) -> dict[str, int]:
    """The number of calls of every attention kernel in ``call``, by PyTorch's names without their common prefix."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        call()
    prefix, kernels = 'aten::_scaled_dot_product_', Counter()
    for event in profile.key_averages():
        name = event.key.removeprefix(prefix)
        if event.key.startswith(prefix) and not name.endswith('_backward'):
            kernels[name] += event.count
    return dict(kernels)
