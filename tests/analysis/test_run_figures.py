import json

import torch

from cait_mm.analysis.run_figures import channels_per_head, describe, head_counts, read_scalars
from cait_mm.pruning.selection import BlockChannels


def test_under_rotary_positions_both_channels_of_a_plane_count_as_cut():
    scores, mask = (BlockChannels(*(torch.ones(2, 4, dtype=kind) for _ in 'qkv'), torch.ones(4, dtype=kind))
                    for kind in (torch.float, torch.bool))
    for head in (0, 1):  # one channel of each of two planes: none can go
        for module in (mask.q, mask.k):
            module[head, [0, 1]] = False
    counts = {planes: describe([mask], [scores], planes)['cut'] for planes in (None, 'halves', 'pairs')}
    assert counts == {None: 8, 'halves': 0, 'pairs': 8}
    for planes, cut in (('halves', 0), ('pairs', 2)):
        panel = channels_per_head({'run': head_counts([scores], [mask], planes)}).axes[0]
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
