"""The linear head is a batch norm and one product per position."""
import pytest
import torch

pytest.importorskip('mmseg')
from mmengine.registry import DefaultScope  # noqa: E402

from cait_mm.heads.linear import LinearHead  # noqa: E402


@pytest.mark.parametrize('channels,more', [
    (6, dict(in_index=0)), ([6, 6], dict(in_index=[0, 1], input_transform='resize_concat'))])
def test_logits_follow_from_the_features_of_their_position(channels, more, monkeypatch):
    monkeypatch.setattr(DefaultScope, '_instance_dict', {})  # whatever config a test before has read
    head = LinearHead(channels, num_classes=3, norm_cfg=dict(type='BN'), **more).eval()
    for value in (*head.parameters(), head.bn.running_mean):
        torch.nn.init.normal_(value)
    maps = [torch.randn(2, 6, 4, 5) for _ in range(2)]
    x = torch.cat(maps if isinstance(channels, list) else maps[:1], 1).movedim(1, -1)
    x = (x - head.bn.running_mean) / (head.bn.running_var + head.bn.eps).sqrt() * head.bn.weight + head.bn.bias
    expected = x @ head.conv_seg.weight[:, :, 0, 0].T + head.conv_seg.bias
    torch.testing.assert_close(head(maps), expected.movedim(-1, 1), rtol=1e-4, atol=1e-5)
