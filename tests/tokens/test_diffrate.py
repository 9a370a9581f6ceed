"""DiffRate against its description written out token by token, and the MACs of its paper."""
import math

import pytest
import torch
from slow_blocks import attended, embedded, fed, lively

from cait_mm.deploy import difference, load_saved, save_onnx
from cait_mm.errors import UserError
from cait_mm.macs import classifier_cost
from cait_mm.models.base import last
from cait_mm.models.deit import DeiT
from cait_mm.spec import make_spec

ARCH = dict(embed_dim=24, depth=5, num_heads=3, img_size=(80, 112))
KEPT, MERGED = (36, 30, 31, 17, 9), (34, 30, 22, 11, 9)

# compression_rate.json of OpenGVLab/DiffRate, commit 91ae3e3: ViT-S-DeiT, 2.7 and 2.9
S27 = dict(kept=(197, 196, 182, 160, 141, 127, 115, 105, 88, 66, 49, 3),
           merged=(197, 188, 170, 147, 131, 119, 109, 96, 76, 54, 45, 3))
S29 = dict(kept=(197, 196, 190, 168, 150, 139, 129, 117, 99, 78, 58, 3),
           merged=(197, 194, 176, 156, 141, 133, 121, 107, 88, 64, 56, 3))


def by_hand(model, image, kept, merged):
    """The last block's tokens of one image, where each of its patches is among them, and what dropped ones had last.

    Tokens are dicts of their vector, their size and their patches.
    """
    x = embedded(model, image)
    cls, tokens, dropped = x[0], [dict(x=row, size=1., patches=[place]) for place, row in enumerate(x[1:])], {}
    for block, keep, merge in zip(model.blocks, kept, merged):
        bias = torch.tensor([0.] + [math.log(token['size']) for token in tokens])
        x, attention = attended(block, torch.stack([cls, *(token['x'] for token in tokens)]), bias)
        cls, tokens = x[0], [dict(token, x=row) for token, row in zip(tokens, x[1:])]
        for place, token in enumerate(tokens):
            token['attended'] = float(attention[:, 0, 1 + place].mean())
        if min(keep, merge) - 1 < len(tokens):
            tokens.sort(key=lambda token: -token['attended'])
            for token in tokens[keep - 1:]:
                dropped.update(dict.fromkeys(token['patches'], token['x']))
            tokens = tokens[:keep - 1]
            stay, go = tokens[:merge - 1], tokens[merge - 1:]
            joined = [[token['x']] for token in stay]
            metrics = [token['x'] for token in stay]
            for token in go:
                alike = [float(torch.cosine_similarity(token['x'], other, dim=0)) for other in metrics]
                best = alike.index(max(alike))
                joined[best].append(token['x'])
                stay[best]['size'] += token['size'] * max(alike)
                stay[best]['patches'] = stay[best]['patches'] + token['patches']
            tokens = [dict(token, x=torch.stack(rows).mean(0)) for token, rows in zip(stay, joined)]
        x = fed(block, torch.stack([cls, *(token['x'] for token in tokens)]))
        cls, tokens = x[0], [dict(token, x=row) for token, row in zip(tokens, x[1:])]
    return x, {patch: row['x'] for row in tokens for patch in row['patches']}, dropped


@pytest.mark.parametrize('kept, merged', [(KEPT, MERGED), (KEPT, (40, ) * 5), ((40, ) * 5, MERGED),
                                          ((2, ) * 5, MERGED)])
@torch.no_grad()
def test_tokens_and_maps_are_those_of_the_description(kept, merged):
    tokens = dict(type='DiffRate', kept=kept, merged=merged, of=36)
    model = lively(DeiT(ARCH, tokens=tokens, out_indices=(4,)))
    images = torch.randn(2, 3, 80, 112)
    maps, = model(images)
    for image, own, full in zip(images, last(model._stream(images)).x, maps.flatten(2).transpose(1, 2)):
        x, alive, dropped = by_hand(model, image[None], kept, merged)
        torch.testing.assert_close(own, x, atol=1e-4, rtol=1e-4)
        expected = torch.stack([{**alive, **dropped}[patch] for patch in range(35)])
        torch.testing.assert_close(full, expected, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_opposite_tokens_leave_a_size_that_has_a_logarithm():
    model = lively(DeiT(ARCH, tokens=dict(type='DiffRate', kept=(36, ) * 5, merged=(3, ) * 5, of=36), out_indices=(4,)))
    for block in model.blocks:
        block.attn.proj.weight.mul_(100)
    assert all(maps.isfinite().all() for maps in model(100 * torch.randn(4, 3, 80, 112)))


@torch.no_grad()
def test_other_sizes_keep_the_same_share_of_patches():
    model = DeiT(ARCH, tokens=dict(type='DiffRate', kept=KEPT, merged=MERGED, of=36), out_indices=(4,)).eval()
    left = [tokens.x.shape[1] for tokens in model._stream(torch.randn(1, 3, 48, 64))]
    assert left == [1 + math.ceil((count - 1) * 12 / 35) for count in (34, 30, 22, 11, 9)]


@pytest.mark.parametrize('counts, macs', [(S27, 2.709), (S29, 2.905)])
def test_it_costs_what_the_authors_say(counts, macs):
    """DeiT-S, in G; norms, the second product of CLS and the products that find pairs are counted here alone."""
    cost = classifier_cost(make_spec('deit_small', tokens=dict(type='DiffRate', **counts))).macs
    assert 0 < cost / 1e9 - macs < 0.012


@pytest.mark.parametrize('settings, words', [
    (dict(kept=KEPT), 'lacks merged'), (dict(kept=KEPT, merged=(9, ) * 12), '5 counts'),
    (dict(kept=(9, ) * 12, merged=KEPT), '5 counts'), (dict(kept=(1, ) * 12, merged=(9, ) * 12), '2 or more'),
    (dict(kept='9', merged=(9, ) * 12), 'kept='), (dict(kept=(9, ) * 12, merged=(9, ) * 12, of=1), 'of=1'),
    (dict(kept=(9, ) * 12, merged=(9, ) * 12, restore='unmerge'), 'restore='),
])
def test_bad_settings_are_a_sentence(settings, words):
    with pytest.raises(UserError, match=words):
        DeiT('deit_tiny', tokens=dict(type='DiffRate', **settings))


def test_its_onnx_file_gives_the_same_maps(tmp_path):
    pytest.importorskip('onnxruntime', reason='pip install -r requirements/export.txt')
    model = DeiT(dict(embed_dim=24, depth=3, num_heads=3, img_size=(64, 64)), out_indices=(2,),
                 tokens=dict(type='DiffRate', kept=(17, 12, 9), merged=(17, 10, 6), of=17)).eval()
    for parameter in model.blocks.parameters():
        torch.nn.init.normal_(parameter, std=.3)
    model.in_channels = 3
    save_onnx(model, (64, 64), tmp_path / 'maps.onnx', {'shape': [64, 64]})
    assert difference(model, load_saved(tmp_path / 'maps.onnx', 'onnx'), (64, 64)) < 1e-4
