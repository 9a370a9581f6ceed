import pytest
import torch

from cait_mm.analysis.attention import last_attention
from cait_mm.backbones import CAITDeiT, CAITViT

ARCH = dict(embed_dim=24, depth=3, num_heads=3, img_size=(64, 64))


@pytest.mark.parametrize('merge', [(), ((1, 'horizontal'), (2, 'vertical'))])
def test_it_is_the_softmax_of_the_last_block(merge):
    backbone = CAITDeiT(arch=ARCH, merge=merge, qk_dim=5, v_dim=7, out_indices=(-1, ), final_norm=True).eval()
    image = torch.randn(1, 3, 64, 64)
    attention = last_attention(backbone, image)
    block, inputs = backbone.blocks[-1], []
    block.attn.register_forward_pre_hook(lambda _, args: inputs.append(args[0]))
    with torch.no_grad():
        backbone.forward_tokens(image)
        q, k, _ = block.attn.qkv(inputs[0]).split([15, 15, 21], dim=-1)
        weights = torch.stack([
            (q[0, :, 5 * head:5 * head + 5] @ k[0, :, 5 * head:5 * head + 5].T * 8**-0.5).softmax(-1)
            for head in range(3)]).mean(0)
    assert 'attend' not in vars(block.attn), 'it computes as before'
    torch.testing.assert_close(attention, weights)


def test_it_is_rotated_and_biased_as_in_the_model():
    """With the values of patch n equal to one and all others zero, attention's output is the weight of n."""
    arch = dict(ARCH, reg_tokens=2, pos_embed=False, rope=dict(type='dinov3', rotate_half=True), qk_norm=True)
    backbone = CAITViT(arch=arch, merge=((1, 'horizontal_weighted'), (2, 'vertical')), out_indices=(-1, )).eval()
    image, attention, rows = torch.randn(1, 3, 64, 64), backbone.blocks[-1].attn, []
    shown = last_attention(backbone, image)
    project = attention.project

    def one_hot(x, rotation):
        q, k, _ = project(x, rotation)
        return q, k, torch.eye(x.shape[1]).expand(1, 3, -1, -1)

    attention.project, attention.proj = one_hot, torch.nn.Identity()
    attention.register_forward_hook(lambda *args: rows.append(args[-1]))
    with torch.no_grad(), pytest.raises(RuntimeError):  # the block cannot add such an output
        backbone.forward_tokens(image)
    torch.testing.assert_close(shown, rows[0][0].unflatten(-1, (3, -1)).mean(1))
