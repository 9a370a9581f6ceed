"""LFS from its description: a discrete Fourier transform written out, its loss by hand, and slopes by every weight."""
import math
from copy import deepcopy

import pytest
import torch
from scored import batches_of, classifier, close, row, slope

from cait_mm.pruning.scores.lfs import lfs, low_pass


def fourier(side: int) -> torch.Tensor:
    return torch.tensor([[complex(math.cos(a), -math.sin(a)) for a in (2 * math.pi * k * n / side for n in range(side))]
                         for k in range(side)])


@pytest.mark.parametrize('height,width', [(8, 8), (6, 9)])
def test_the_filter_is_a_gaussian_over_frequencies(height, width):
    image, deviation = torch.randn(height, width).double(), 6 * 0.5 / 2 if height == 6 else 8 * 0.5 / 2
    rows, columns = fourier(height), fourier(width)
    spectrum = rows @ image.to(rows) @ columns.T
    for k in range(height):
        for n in range(width):
            # the Gaussian is centred in an array whose frequency 0 stands at half of its side
            a, b = (k + height // 2) % height - (height - 1) / 2, (n + width // 2) % width - (width - 1) / 2
            spectrum[k, n] *= math.exp(-(a * a + b * b) / (2 * deviation**2))
    wanted = (rows.conj() @ spectrum @ columns.conj().T).real / (height * width)
    torch.testing.assert_close(low_pass(image[None, None], 0.5)[0, 0], wanted.double(), atol=1e-5, rtol=1e-5)


def test_a_low_cutoff_leaves_what_is_smooth():
    wave = torch.linspace(0, 2 * math.pi, 65)[:64].cos()
    smooth, rough = (low_pass(wave[None].mul(1.).repeat(64, 1)[None, None], 0.1),
                     low_pass((wave * torch.tensor([1., -1.]).repeat(32)).repeat(64, 1)[None, None], 0.1))
    assert smooth.std() > 0.9 * wave.std() and rough.std() < 1e-3 * wave.std()


def loss_by_hand(model, images, targets, whole) -> float:
    """0.1 of the cross-entropy, 0.9 of the KL between softmaxes of the features of whole and filtered images."""
    with torch.no_grad():
        filtered = low_pass(images, 0.1)
        logits = model(filtered)
        mine = model.backbone.pool(model.backbone.forward_tokens(filtered)[0])
    total = 0.
    for i in range(len(images)):
        exps = [math.exp(value) for value in logits[i].tolist()]
        total += 0.1 * -math.log(exps[int(targets[i])] / sum(exps)) / len(images)
        p, q = ([math.exp(value) / sum(map(math.exp, feature.tolist())) for value in feature.tolist()]
                for feature in (whole[i], mine[i]))
        total += 0.9 * sum(a * math.log(a / b) for a, b in zip(p, q)) / (len(images) * len(p))
    return total


def test_lfs_sums_the_squares_of_weight_times_gradient():
    model = classifier()
    batches = batches_of(model)
    with torch.no_grad():
        whole = [model.backbone.pool(model.backbone.forward_tokens(images)[0]) for images, _ in batches]
    score = lfs(deepcopy(model), batches)[1]

    def channel(layer, place):
        """Over the inputs of one output of ``qkv`` or ``fc1`` of block 1."""
        total = 0.
        for source in range(24):
            def nudged(factor, source=source):
                copy = deepcopy(model)
                block = copy.backbone.flat_blocks()[1]
                with torch.no_grad():
                    (block.attn.qkv if layer == 'qkv' else block.mlp.fc1).weight[place, source] *= factor
                return copy
            total += (sum(slope(nudged, lambda changed, of=of: loss_by_hand(changed, *batches[of][:1],
                                                                            batches[of][1][0], whole[of]))
                          for of in range(2)) / 2)**2
        return total

    both = channel('qkv', row('q', 1, 4)) + channel('qkv', row('k', 1, 4))
    assert close(score.q[1, 4], both, 1e-3) and torch.equal(score.q, score.k)
    assert close(score.v[2, 0], channel('qkv', row('v', 2, 0)), 1e-3)
    assert close(score.ffn[9], channel('fc1', 9), 1e-3)


def test_the_feature_alone_scores_without_labels():
    """Most of the loss is the distance of features, which has a gradient whatever the targets are."""
    model = classifier()
    batches = batches_of(model)
    others = [(images, [1 + target - target]) for images, (target,) in batches]
    feature, same = (lfs(deepcopy(model), data, task=0.) for data in (batches, others))
    assert all(torch.equal(a.ffn, b.ffn) and a.ffn.min() > 0 for a, b in zip(feature, same))
    assert not torch.equal(lfs(deepcopy(model), batches)[0].ffn, lfs(deepcopy(model), others)[0].ffn)
