"""First-order Taylor against the slope of the loss along one channel, and magnitude against loops over its weights."""
import pytest
from scored import batches_of, classifier, close, row, scaled, slope

from cait_mm.pruning.scores.magnitude import magnitude
from cait_mm.pruning.scores.taylor import taylor


@pytest.mark.parametrize('family', ['deit', 'lvvit', 'swin', 'vit'])
def test_taylor_is_the_slope_of_the_loss_along_a_channel(family):
    model = classifier(family)
    batches = batches_of(model)
    scores = taylor(model, batches)
    for index in (0, 2):
        block, ours = model.backbone.flat_blocks()[index], scores[index]
        heads, width = block.attn.num_heads, block.attn.qk_dim
        hidden = block.mlp.fc2.in_features

        def wanted(part, channel, index=index):
            return abs(sum(slope(lambda factor: scaled(model, index, part, [channel], factor), batch)
                           for batch in batches) / len(batches))

        for name in 'qkv':
            for head, channel in ((0, 0), (heads - 1, 2)):
                assert close(getattr(ours, name)[head, channel], wanted('qkv', row(name, head, channel, heads, width)))
        gated = block.mlp.fc1.out_features - hidden  # the values stand behind the gates
        assert ours.ffn.shape == (hidden,) and close(ours.ffn[3], wanted('fc1', gated + 3))


@pytest.mark.parametrize('family', ['deit', 'vit'])
def test_magnitude_counts_every_weight_that_goes(family):
    model = classifier(family)
    block, score = model.backbone.flat_blocks()[1], magnitude(model)[1]
    qkv, proj, fc1, fc2 = block.attn.qkv, block.attn.proj, block.mlp.fc1, block.mlp.fc2
    for name in 'qkv':
        place, total = row(name, 2, 5), 0.
        for weight in [*qkv.weight[place].tolist(), float(qkv.bias[place])]:
            total += weight**2
        for out in range(24 if name == 'v' else 0):
            total += float(proj.weight[out, 2 * 8 + 5])**2
        assert close(getattr(score, name)[2, 5], total**0.5)
    hidden, total = fc2.in_features, 0.
    for place in range(7, fc1.out_features, hidden):
        for weight in [*fc1.weight[place].tolist(), float(fc1.bias[place])]:
            total += weight**2
    for out in range(24):
        total += float(fc2.weight[out, 7])**2
    assert close(score.ffn[7], total**0.5)
