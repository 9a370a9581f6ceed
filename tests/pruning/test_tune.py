"""Tuning without labels on tiny classifiers, against KLs from ``torch.distributions``."""
import pytest
import torch
from conftest import FAMILIES, plain_classifier
from torch import nn
from torch.distributions import Bernoulli, Categorical, kl_divergence

from cait_mm.errors import UserError
from cait_mm.models import Classifier
from cait_mm.pruning.compress import compress
from cait_mm.pruning.imitate import binary_kl, imitate_classifier, kl, map_error, sureness, unlike
from cait_mm.pruning.tune import LOOKS, Progress, tune


def pair(family: str = 'deit') -> tuple[Classifier, Classifier]:
    """A dense classifier with answers that differ, and its compressed self."""
    dense = plain_classifier(family, merge=()).eval()
    for name, parameter in dense.named_parameters():
        if 'norm' not in name:
            nn.init.normal_(parameter, std=0.1)
    return compress(dense, batches(2), 0.5, FAMILIES[family]['merge']), dense


def batches(count: int, size: int = 8, seed: int = 1) -> list[torch.Tensor]:
    chance = torch.Generator().manual_seed(seed)
    return [torch.rand(size, 3, 4, 4, generator=chance).repeat_interleave(16, 2).repeat_interleave(16, 3) * 4 - 2
            for _ in range(count)]


@torch.no_grad()
def distance(student: Classifier, teacher: Classifier, images: list[torch.Tensor]) -> float:
    pairs = [(Categorical(logits=teacher(batch)), Categorical(logits=student(batch))) for batch in images]
    return float(torch.cat([kl_divergence(*both) for both in pairs]).mean())


def weights(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(value, other[name]) for name, value in one.items())


@pytest.mark.parametrize('family', FAMILIES)
def test_the_student_comes_nearer_on_images_held_out(family):
    student, teacher = pair(family)
    before, dense, watched = distance(student, teacher, batches(2, seed=2)), weights(teacher), batches(2, seed=2)
    seen: list[Progress] = []
    result = tune(student, teacher, batches(8), 20, lr=2e-3, held_out=watched, progress=seen.append)
    assert result.before == pytest.approx(before, rel=1e-4, abs=5e-7) and result.held_out == 16 and result.steps == 20
    assert result.after == pytest.approx(distance(student, teacher, watched), rel=1e-4, abs=5e-7)
    assert result.after < 0.8 * result.before and 0 < result.best_step <= 20
    assert same(weights(teacher), dense) and not student.training
    assert [item.step for item in seen] == [*range(1, 21)] and seen[-1].seconds_left == 0 < seen[0].seconds_left
    assert sum(item.distance is not None for item in seen) == LOOKS
    assert all(parameter.grad is None for parameter in student.parameters())


@pytest.mark.parametrize('lr', [1e3, 1e30])
def test_it_never_ends_worse(lr):
    student, teacher = pair()
    start = weights(student)
    result = tune(student, teacher, batches(8), 12, lr=lr)
    assert result.after == result.before and result.best_step == 0 and same(weights(student), start)
    assert 'lower lr' in result.note


class Killed(BaseException):
    pass


@pytest.mark.parametrize('last', [1, 7, 20])
def test_a_killed_run_resumes_with_the_same_bits(tmp_path, last):
    def kill(now: Progress) -> None:
        if now.step == last:
            raise Killed

    whole, teacher = pair()
    state, start = tmp_path / 'state.pth', weights(whole)
    wanted = tune(whole, teacher, batches(8), 20, seed=3)
    part, _ = pair()
    part.load_state_dict(start)
    with pytest.raises(Killed):
        tune(part, teacher, batches(8), 20, seed=3, checkpoint=state, progress=kill)
    part.load_state_dict(start)
    assert tune(part, teacher, batches(8), 20, seed=3, checkpoint=state) == wanted
    assert same(weights(part), weights(whole)) and not same(weights(part), start)
    assert [path.name for path in tmp_path.iterdir()] == ['state.pth'], 'written in one step'


def test_a_state_of_another_run_is_refused(tmp_path):
    student, teacher = pair()
    tune(student, teacher, batches(8), 2, checkpoint=tmp_path / 'state.pth')
    with pytest.raises(UserError, match=r'is of another tuning run \(steps, student differ\)'):
        tune(student, teacher, batches(8), 3, checkpoint=tmp_path / 'state.pth')
    torch.save(student.state_dict(), tmp_path / 'weights.pth')
    with pytest.raises(UserError, match='holds no tuning run'):
        tune(student, teacher, batches(8), 2, checkpoint=tmp_path / 'weights.pth')


@pytest.mark.parametrize('images', [batches(2), batches(1, size=64)])
def test_too_few_images_are_refused(images):
    student, teacher = pair()
    with pytest.raises(UserError, match='needs 32 images at least'):
        tune(student, teacher, images, 5)


def test_images_that_teach_something_else_are_said():
    student, teacher = pair()

    def odd(own: nn.Module, dense: nn.Module, batch: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Images to learn from whose loss leads away from the ones held out, after it led nearer."""
        loss, near = imitate_classifier(own, dense, batch)
        return (loss if len(batch) == 8 else own(batch[:8]).square().sum()), near

    draw = [*batches(5), *[torch.zeros(9, 3, 64, 64)] * 15].__getitem__
    result = tune(student, teacher, draw, 20, lr=3e-3, loss=odd, held_out=batches(4, seed=2))
    assert 0 < result.best_step < 20 and result.after < result.before
    assert 'rose again' in result.note and 'too few' in result.note


def test_tuning_neither_sees_nor_moves_the_processes_randomness():
    student, teacher = pair()
    start = weights(student)
    torch.manual_seed(5)
    wanted = torch.rand(3)
    torch.manual_seed(5)
    tune(student, teacher, batches(8), 2)
    once = weights(student)
    assert torch.equal(torch.rand(3), wanted)
    student.load_state_dict(start)
    tune(student, teacher, batches(8), 2)
    assert same(weights(student), once)


def test_the_distances_are_those_of_their_definitions():
    student, teacher = torch.randn(2, 5, 3, 3), torch.randn(2, 5, 3, 3) * 2
    moved = [logits.permute(0, 2, 3, 1) for logits in (teacher, student)]
    torch.testing.assert_close(kl(student, teacher), kl_divergence(*(Categorical(logits=x) for x in moved)).mean())
    torch.testing.assert_close(binary_kl(student, teacher),
                               kl_divergence(Bernoulli(logits=teacher), Bernoulli(logits=student)))
    assert binary_kl(torch.full((2, ), 90.), torch.full((2, ), -90.)).isfinite().all()
    assert map_error(teacher, teacher) == 0 and kl(teacher, teacher) == 0
    mean = teacher.mean().expand_as(teacher)
    torch.testing.assert_close(map_error(mean, teacher), torch.tensor(1.), atol=0.02, rtol=0)


def test_strange_images_are_those_that_a_model_is_unsure_of():
    model = nn.Linear(10, 10, bias=False)
    nn.init.eye_(model.weight)
    strange, known = torch.zeros(2, 10), torch.eye(10)[:1] * 90
    assert sureness(model, [strange, known]) == pytest.approx(0.4) and unlike(model, [known]) is None
    assert 'its best class of these images 10% on average' in unlike(model, [strange])
