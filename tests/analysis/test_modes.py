from functools import partial

import pytest
import torch
from conftest import FAMILIES, ROOT
from mmengine.registry import MODELS
from torch import nn

from cait_mm.analysis.modes import Mode, attention_kernels
from cait_mm.errors import UserError
from cait_mm.tasks import load_model, parts_of


@pytest.mark.parametrize('family', FAMILIES)
def test_backbones_are_one_graph(family):
    """As with --compile backbone, but only with dynamo, because the generated code is PyTorch's."""
    torch._dynamo.reset()
    backbone = MODELS.build(dict(FAMILIES[family], out_indices=(0, 1, 2))).eval()
    image = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        whole = torch.compile(backbone, fullgraph=True, backend='eager')(image)
        assert all(torch.equal(item, expected) for item, expected in zip(whole, backbone(image)))


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.backbone, self.compiled = nn.Conv2d(3, 4, 1), []
        self.backbone.compile = lambda **words: self.compiled.append(words)


def test_compiled_parts_and_the_memory_format_of_images():
    model = Mode(compile='backbone', channels_last=True).prepare(Model())
    assert model.compiled == [dict(fullgraph=True)] and not Mode(compile='all').prepare(Model()).compiled
    assert Mode(channels_last=True).batch(2, 8, 6).is_contiguous(memory_format=torch.channels_last)
    assert Mode().batch(2, 8, 6).shape == (2, 3, 8, 6) and Mode().batch(2, 8, 6, 4).shape == (2, 4, 8, 6)


def test_a_classifiers_backbone_is_compiled_too(monkeypatch):
    graphs = []

    def spy(graph, inputs):
        graphs.append(len(graph.graph.nodes))
        return graph.forward

    torch._dynamo.reset()
    compiled = partial(torch.compile, backend=spy)
    monkeypatch.setattr(torch, 'compile', compiled)
    model = Mode(compile='backbone').prepare(load_model(str(ROOT / 'configs/small/deit_scenes.py')))
    with torch.no_grad():
        parts_of(model)['overall'](torch.rand(1, 3, *model.backbone.img_size))
    assert len(graphs) == 1 and graphs[0] > 100


def test_precision_attention_and_tf32_last_as_long_as_the_mode():
    backbone = MODELS.build(dict(FAMILIES['deit'], out_indices=(2,))).eval()
    image, before = torch.randn(1, 3, 64, 64), torch.backends.cuda.matmul.allow_tf32
    mode = Mode(dtype='bfloat16', attention='eager', tf32=not before)
    with torch.no_grad(), mode.running():
        assert attention_kernels(lambda: backbone(image)) == {'flash_attention_for_cpu': 3}
        mode.prepare(backbone)
        assert not attention_kernels(lambda: backbone(image))
        assert torch.backends.cuda.matmul.allow_tf32 is not before
        assert torch.nn.functional.linear(image, image.new_ones(64, 64)).dtype == torch.bfloat16
    assert torch.backends.cuda.matmul.allow_tf32 is before


def test_16_bit_weights_need_no_autocast():
    mode = Mode(dtype='bfloat16', weights='same')
    backbone = mode.prepare(MODELS.build(dict(FAMILIES['deit'], out_indices=(2,))).eval())
    with torch.no_grad(), mode.running():
        assert not torch.is_autocast_enabled('cpu')
        assert backbone(mode.batch(1, 64, 64))[0].dtype == torch.bfloat16
    assert all(value.dtype == torch.bfloat16 for value in backbone.parameters())


def test_errors_say_that_a_gpu_is_needed():
    with pytest.raises(UserError, match='give `device=cuda`'):
        Mode(cuda_graph=True)


@pytest.mark.skipif(not torch.cuda.is_available(), reason='records a CUDA graph')
def test_a_cuda_graph_replays_the_same():
    mode = Mode('cuda', cuda_graph=True)
    backbone = mode.prepare(MODELS.build(dict(FAMILIES['deit'], out_indices=(2,))).eval())
    images = mode.batch(1, 64, 64)
    outputs = []
    with torch.no_grad():
        replay = mode.recorded(lambda: outputs.append(backbone(images)[0]))
        images.copy_(torch.rand_like(images))
        replay()
        torch.testing.assert_close(outputs[-1], backbone(images)[0], atol=1e-4, rtol=1e-4)


@pytest.mark.skipif(torch.cuda.is_available(), reason='asks for a GPU where there is none')
def test_a_missing_gpu_is_a_sentence():
    with pytest.raises(UserError, match='no GPU here'):
        Mode('cuda')
