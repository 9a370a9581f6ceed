"""S2ViTE's scores by loops: slopes of each image's loss along a head, and sums of magnitudes for neurons."""
import pytest
import torch
from scored import batches_of, classifier, row, scaled, slope

from cait_mm.pruning.scores.s2vite import s2vite


def places(values: list[float]) -> list[int]:
    """How many of the others are less."""
    return [sum(other < value for other in values) for value in values]


@pytest.mark.parametrize('family', ['deit', 'swin'])
def test_heads_and_neurons_are_ranked_within_their_layer(family):
    model, index = classifier(family), 2
    batches = batches_of(model)
    block, score = model.backbone.flat_blocks()[index], s2vite(model, batches)[index]
    heads, width = block.attn.num_heads, block.attn.qk_dim

    def term(rows):
        """The mean over images of the magnitude of the slope of its loss."""
        return sum(abs(slope(lambda factor: scaled(model, index, 'qkv', rows, factor), (image[None], [target[None]])))
                   for images, (targets,) in batches for image, target in zip(images, targets))

    of_heads = places([term([row('v', head, channel, heads, width) for channel in range(width)])
                       for head in range(heads)])
    for name in 'qkv':
        for head in range(heads):
            within = places([term([row(name, head, channel, heads, width)]) for channel in range(width)])
            wanted = [of_heads[head] + place / width for place in within]
            assert torch.allclose(getattr(score, name)[head].double(), torch.tensor(wanted).double(), atol=1e-6)
    neurons, hidden = [], block.mlp.fc2.in_features
    for neuron in range(hidden):
        neurons.append(sum(map(abs, block.mlp.fc1.weight[neuron].tolist()))
                       + sum(map(abs, block.mlp.fc2.weight[:, neuron].tolist())))
    wanted = [place / hidden for place in places(neurons)]
    assert torch.allclose(score.ffn.double(), torch.tensor(wanted).double(), atol=1e-6)
