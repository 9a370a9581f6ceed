import json

import pytest
import torch

from cait_mm.analysis.run_figures import channels_per_head, cls_attention, describe, read_scalars
from cait_mm.backbones import CAITDeiT, CAITViT
from cait_mm.pruning.selection import BlockChannels

ARCH = dict(embed_dim=24, depth=3, num_heads=3, img_size=(64, 64))


@pytest.mark.parametrize('merge', [(), ((1, 'horizontal'), (2, 'vertical'))])
def test_cls_attention_is_the_softmax_of_the_last_block(merge):
    backbone = CAITDeiT(arch=ARCH, merge=merge, qk_dim=5, v_dim=7, out_indices=(-1, ), final_norm=True).eval()
    image = torch.randn(1, 3, 64, 64)
    attention = cls_attention(backbone, image)
    assert attention.shape == (4, 4)
    block, inputs = backbone.blocks[-1], []
    block.attn.register_forward_pre_hook(lambda _, args: inputs.append(args[0]))
    with torch.no_grad():
        backbone.forward_tokens(image)
        q, k, _ = block.attn.qkv(inputs[0]).split([15, 15, 21], dim=-1)
        weights = torch.stack([
            (q[0, :1, 5 * head:5 * head + 5] @ k[0, :, 5 * head:5 * head + 5].T * 8**-0.5).softmax(-1)[0, 1:]
            for head in range(3)]).mean(0)
    assert 'attend' not in vars(block.attn), 'it computes as before'
    cells = 16 if not merge else 4
    assert attention.sum().item() == pytest.approx(weights.sum().item() * 16 / cells, rel=1e-4)
    torch.testing.assert_close(attention.flatten().sort().values, weights.repeat_interleave(16 // cells).sort().values)


def test_cls_attention_is_rotated_and_biased_as_in_the_model():
    """With the values of patch n equal to one and all others zero, attention's output is the weight of n."""
    arch = dict(ARCH, reg_tokens=2, pos_embed=False, rope=dict(type='dinov3', rotate_half=True), qk_norm=True)
    backbone = CAITViT(arch=arch, merge=((1, 'horizontal_weighted'), (2, 'vertical')), out_indices=(-1, )).eval()
    image, attention, rows = torch.randn(1, 3, 64, 64), backbone.blocks[-1].attn, []
    shown = cls_attention(backbone, image)
    project = attention.project

    def one_hot(x, rotation):
        q, k, _ = project(x, rotation)
        return q, k, torch.eye(x.shape[1]).expand(1, 3, -1, -1)

    attention.project, attention.proj = one_hot, torch.nn.Identity()
    attention.register_forward_hook(lambda *args: rows.append(args[-1]))
    with torch.no_grad(), pytest.raises(RuntimeError):  # the block cannot add such an output
        backbone.forward_tokens(image)
    weights = rows[0][0, 0].view(3, -1).mean(0)[3:].view(2, 2)
    torch.testing.assert_close(shown, weights.repeat_interleave(2, 0).repeat_interleave(2, 1))


def test_under_rotary_positions_both_channels_of_a_plane_count_as_cut():
    scores, mask = (BlockChannels(*(torch.ones(2, 4, dtype=kind) for _ in 'qkv'), torch.ones(4, dtype=kind))
                    for kind in (torch.float, torch.bool))
    for head in (0, 1):  # one channel of each of two planes: none can go
        for module in (mask.q, mask.k):
            module[head, [0, 1]] = False
    counts = {planes: describe([mask], [scores], planes)['cut'] for planes in (None, 'halves', 'pairs')}
    assert counts == {None: 8, 'halves': 0, 'pairs': 8}
    for planes, cut in (('halves', 0), ('pairs', 2)):
        panel = channels_per_head({'run': ([scores], [mask], planes)}).axes[0]
        assert [bar.get_height() for bar in panel.patches[2:]] == [cut, cut]


def test_a_resumed_run_replaces_repeated_steps(tmp_path):
    for name, steps in (('1', (1, 2, 3)), ('2', (3, 4))):
        (tmp_path / name / 'vis_data').mkdir(parents=True)
        lines = [json.dumps(dict(step=step, loss=int(name) * 10 + step)) for step in steps]
        (tmp_path / name / 'vis_data' / 'scalars.json').write_text('\n'.join([*lines, json.dumps(dict(step=9, lr=1))]))
    assert read_scalars(tmp_path, 'loss') == ([1, 2, 3, 4], [11, 12, 23, 24])
    assert read_scalars(tmp_path, 'none') == ([], [])


def test_without_consistency_less_is_cut_than_is_near_zero():
    scores = BlockChannels(torch.ones(2, 4), torch.ones(2, 4), torch.ones(2, 4), torch.ones(4))
    masks = BlockChannels(*(torch.ones_like(item, dtype=torch.bool) for item in (scores.q, scores.k, scores.v,
                                                                                 scores.ffn)))
    for head, channels in ((0, 3), (1, 1)):  # v loses three channels in one head and one in the other
        scores.v[head, :channels] = 0
        masks.v[head, :channels] = False
    scores.q[0, 0] = 0  # and q one that k keeps
    masks.q[0, 0] = False
    assert describe([masks], [scores]) == dict(attention_channels=24, near_zero=5, masked=5, cut=2)


def test_a_line_that_a_kill_has_torn_is_left_out(tmp_path):
    folder = tmp_path / 'run' / 'vis_data'
    folder.mkdir(parents=True)
    text = b'{"step": 1, "loss": 2.5}\n[3]\n\xff\n{"step": 2, "loss": "x"}\n{"step": 3, "lo'
    (folder / 'scalars.json').write_bytes(text)
    assert read_scalars(tmp_path, 'loss') == ([1], [2.5])
