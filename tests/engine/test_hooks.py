from types import SimpleNamespace

import pytest
import torch
from mmengine.fileio import get_file_backend
from mmengine.logging import MessageHub

from cait_mm.engine import CDCPHook, EpochSeedHook, FiniteHook
from cait_mm.errors import UserError


def runner(**attributes):
    hub = MessageHub.get_instance('hooks')
    return SimpleNamespace(**{**dict(seed=3, epoch=0, iter=41, message_hub=hub), **attributes})


def test_an_epoch_draws_the_same_after_a_resume_and_another_than_the_one_before():
    hook, draws = EpochSeedHook(), []
    for epoch in (0, 1, 1):
        hook.before_train_epoch(runner(epoch=epoch))
        draws.append(torch.rand(3))
    assert torch.equal(draws[1], draws[2]) and not torch.equal(draws[0], draws[1])


def test_a_loss_that_is_not_finite_stops_the_run():
    FiniteHook().after_train_iter(runner(), 0, outputs=dict(loss=torch.tensor(1.), note='ok'))
    with pytest.raises(UserError, match='loss_label became inf at iteration 42; no checkpoint was written yet'):
        FiniteHook().after_train_iter(runner(), 0, outputs=dict(loss_label=torch.tensor(float('inf'))))


def test_weights_that_are_not_finite_are_not_written():
    good = dict(state_dict=dict(a=torch.ones(2), count=torch.ones(2, dtype=torch.long)))
    FiniteHook().before_save_checkpoint(runner(), good)
    good['state_dict']['a'][1] = float('nan')
    with pytest.raises(UserError, match='weight a is not finite after iteration 41'):
        FiniteHook().before_save_checkpoint(runner(), good)


def test_split_weights_are_refused():
    class Sharded(torch.nn.Module):
        cdcp = object()

    class DeepSpeedStrategy:
        pass

    with pytest.raises(UserError, match='which DeepSpeedStrategy splits: train with DDP'):
        CDCPHook().before_train(runner(model=Sharded(), strategy=DeepSpeedStrategy()))


def test_checkpoints_are_written_whole_or_not_at_all(tmp_path, monkeypatch):
    backend, path = get_file_backend(backend_args=dict(backend='atomic')), tmp_path / 'a.pth'
    backend.put(b'first', str(path))
    real = type(path).write_bytes

    def full(self, content):
        real(self, content[:3])
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(type(path), 'write_bytes', full)
    with pytest.raises(UserError, match='No space left on device.*earlier files are kept'):
        backend.put(b'second', str(path))
    assert path.read_bytes() == b'first' and list(tmp_path.iterdir()) == [path]
