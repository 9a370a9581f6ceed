"""LFE against its description written out: discrete Fourier transforms as sums, attention as loops."""
import cmath
import math

import pytest
import torch
from slow_blocks import attended, embedded, fed, lively

from cait_mm.errors import UserError
from cait_mm.models.base import last
from cait_mm.models.deit import DeiT
from cait_mm.tokens.lfe import low_energy

ARCH = dict(embed_dim=12, depth=4, num_heads=3, img_size=(48, 112))
KEPT = (21, 17, 9, 4)


def transform(values, sign):
    count = len(values)
    return [sum(value * cmath.exp(sign * 2j * math.pi * place * frequency / count)
                for place, value in enumerate(values)) for frequency in range(count)]


def energy(patches, cutoff):
    """VTC-LFC's Eq. for the low-frequency energy, with the kernel of its code (selector in models/deit/deit.py)."""
    count, energies = len(patches), [0.] * len(patches)
    width, middle = count * cutoff / 2, (count - 1) / 2
    for channel in patches.T.tolist():
        kept = [value * (1 - math.exp(-(frequency - middle)**2 / (2 * width**2)))
                for frequency, value in enumerate(transform(channel, -1))]
        for place, value in enumerate(transform(kept, 1)):
            energies[place] += abs(value / count)
    mean = patches.abs().sum(1).mean().item()
    return [own / mean for own in energies]


def by_hand(model, image, kept, cutoff, prefix):
    """The last block's tokens of one image."""
    x = embedded(model, image)
    for block, left in zip(model.blocks, kept):
        x, attention = attended(block, x)
        patches = range(len(x) - prefix)
        if left < len(patches):
            heads = len(attention)
            weight = [sum(head[prefix + patch, 0] for patch in patches) / len(patches) for head in attention]
            low = energy(x[prefix:], cutoff)
            scores = []
            for patch in patches:
                place = prefix + patch
                by_cls = sum(head[0, place] * weight[number] for number, head in enumerate(attention)) / heads
                by_patches = sum(sum(head[prefix + other, place] for other in patches) / len(patches) * head[0, 0]
                                 for head in attention) / heads
                scores.append(float(by_cls + by_patches) * low[patch])
            ranked = sorted(patches, key=lambda patch: -scores[patch])
            stay = [*sorted(ranked[:max(left - 1, 0)]), *ranked[max(left - 1, 0):left]]
            x = torch.cat([x[:prefix], x[[prefix + patch for patch in stay]]])
        x = fed(block, x)
    return x


@pytest.mark.parametrize('kept', [KEPT, (15, 15, 1, 0)])
@torch.no_grad()
def test_tokens_are_those_of_the_description(kept):
    model = lively(DeiT(ARCH, tokens=dict(type='LFE', kept=kept, of=21), out_indices=(3,)))
    image = torch.randn(1, 3, 48, 112)
    torch.testing.assert_close(last(model._stream(image)).x[0], by_hand(model, image, kept, 0.15, 1), atol=1e-4,
                               rtol=1e-4)


def test_slow_changes_are_kept_and_fast_ones_damped():
    places = torch.arange(40.)
    slow, fast = ((2 * math.pi * waves * places / 40).cos()[None, :, None] for waves in (1, 20))
    assert low_energy(slow, 0.85).sum() > 0.95 * slow.abs().sum()
    assert low_energy(fast, 0.85).sum() < 0.05 * fast.abs().sum()
    assert low_energy(fast, 0.99).sum() > low_energy(fast, 0.85).sum() > low_energy(fast, 0.2).sum()


@torch.no_grad()
def test_the_attention_is_the_same_fused_or_not_where_all_tokens_stay():
    model, dense = (DeiT(ARCH, tokens=tokens, out_indices=(3,)).eval() for tokens in (
        dict(type='LFE', kept=(21, ) * 4, of=21), None))
    dense.load_state_dict(model.state_dict())
    image = torch.randn(2, 3, 48, 112)
    assert torch.equal(model(image)[0], dense(image)[0])


@torch.no_grad()
def test_other_sizes_keep_the_same_share():
    model = DeiT(ARCH, tokens=dict(type='LFE', kept=KEPT, of=21), out_indices=(3,)).eval()
    left = [tokens.x.shape[1] - 1 for tokens in model._stream(torch.randn(1, 3, 80, 112))]
    assert left == [35, 29, 15, 7]  # of 35: 21, 17, 9 and 4 of 21, rounded up


@pytest.mark.parametrize('settings, words', [
    (dict(), 'lacks kept'), (dict(kept=5), 'kept=5'), (dict(kept=(3, ) * 11), '11 counts'), (dict(kept=()), 'kept='),
    (dict(kept=(-1, ) * 12), 'kept'), (dict(kept=(1.5, ) * 12), 'kept'), (dict(kept=(9, ) * 12, of=0), 'of=0'),
    (dict(kept=(9, ) * 12, cutoff=1), 'cutoff=1'), (dict(kept=(9, ) * 12, cutoff=True), 'cutoff='),
    (dict(kept=(9, ) * 12, restore='unmerge'), 'restore='),
])
def test_bad_settings_are_a_sentence(settings, words):
    with pytest.raises(UserError, match=words):
        DeiT('deit_tiny', tokens=dict(type='LFE', **settings))
