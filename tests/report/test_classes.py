import pytest
import torch
from torch import nn

from cait_mm.analysis.classes import class_names
from cait_mm.report.classes import Case, compare, label_of, quality


class Fixed(nn.Module):
    """Answers each image with the logits in its first pixels."""

    def __init__(self, shift):
        super().__init__()
        self.shift = shift

    def forward(self, images):
        return images[:, 0, 0, :3] + self.shift


def test_pictures_come_by_the_distance_of_their_probabilities():
    cases = [Case(f'{index}.png', logits.view(1, 1, 3).expand(3, 3, 3), 0)
             for index, logits in enumerate(torch.tensor([[9., 0, 0], [0.2, 0, 0], [3., 0, 0]]))]
    found = compare(Fixed(torch.zeros(3)), Fixed(torch.tensor([0., 1., 0.])), cases, ['a', 'b', 'c'], shown=2)
    apart = [0.5 * float((case.image[0, 0].softmax(0) - (case.image[0, 0] + torch.tensor([0., 1., 0.])).softmax(0))
                         .abs().sum()) for case in cases]
    assert [entry['name'] for entry in found['pictures']] == ['1.png', '2.png'] and apart[1] > apart[2] > apart[0]
    assert [entry['difference'] for entry in found['pictures']] == pytest.approx([apart[1], apart[2]])
    assert [entry['changed'] for entry in found['pictures']] == [True, False] and found['looked_at'] == 3
    assert found['pictures'][0]['small'][0][0] == 'b' and found['pictures'][0]['truth'] == 'a'
    top1, alike = found['quality']
    assert (top1['dense'], round(top1['small'], 3), round(alike['small'], 3)) == (100, 66.667, 66.667)


def test_without_labels_only_agreement_is_told():
    rows = quality([(0, 0, None), (1, 2, None)])['quality']
    assert len(rows) == 1 and rows[0]['small'] == 50 and 'dense' not in rows[0]


def test_classes_of_imagenet_are_told_by_their_numbers():
    names = class_names(1000)
    for path, name in (('images/n01440764_tench.JPEG', 'tench'), ('val/n01514859/a.png', 'hen')):
        assert names[label_of(path, 1000)] == name
    assert label_of('val/dogs/a.png', 1000) is None and label_of('n01440764_1.png', 10) is None
    assert label_of('val/red/a.png', 2, ['green', 'red']) == 1
    assert class_names(2) == ['class 0', 'class 1'] and class_names(2, ['x', 'y']) == ['x', 'y']
