"""A run that is asked to stop saves where it is, and continues as if nothing had happened."""
import multiprocessing
import os
import signal
import subprocess
import sys
import time

import pytest
import torch
from conftest import ROOT
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from tiny_runs import differing, load, make_data, run

from cait_mm.utils.signals import SIGNALS, Stopped

ALONE = 'CAIT_TESTS_ALONE'
"""Set in the environment of tests that run in a process of their own."""


@HOOKS.register_module()
class SendSignal(Hook):
    """Signal this process in an iteration of training, or of the validation after it."""

    def __init__(self, iteration: int, validation: bool, rank: int = 0) -> None:
        self.iteration, self.validation, self.rank = iteration, validation, rank

    def before_train_iter(self, runner, **_) -> None:
        if runner.iter + 1 == self.iteration and not self.validation:
            os.kill(os.getpid(), signal.SIGTERM)

    def before_val_iter(self, runner, **_) -> None:
        if runner.iter == self.iteration and self.validation and runner.rank == self.rank:
            os.kill(os.getpid(), signal.SIGTERM)


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    return make_data(tmp_path_factory.mktemp('data'))


@pytest.mark.parametrize('kind,iteration,validation,last', [
    ('segmentor', 5, False, 'iter_7.pth'),
    ('segmentor', 4, True, 'iter_7.pth'),
    ('classifier', 4, False, 'epoch_3.pth'),
    ('classifier', 3, True, 'epoch_3.pth'),
])
def test_a_run_that_sigterm_stops_continues_to_the_same_bits(data, tmp_path, kind, iteration, validation, last):
    options = {'custom_hooks': [dict(type='EMAHook', momentum=0.2)], 'default_hooks.checkpoint.interval': 6}
    run(data, kind, tmp_path / 'whole', **options)
    handlers = signal.getsignal(signal.SIGTERM)
    hooks = [*options['custom_hooks'], dict(type='SendSignal', iteration=iteration, validation=validation)]
    with pytest.raises(Stopped) as stop, SIGNALS.handled():
        run(data, kind, tmp_path / 'stopped', **{**options, 'custom_hooks': hooks})
    signal.signal(signal.SIGTERM, handlers)
    SIGNALS.received, SIGNALS.noting = None, False
    noted = (tmp_path / 'stopped' / 'last_checkpoint').read_text()
    assert stop.value.status == 143 and f'stopped by SIGTERM; {noted} holds the state of the run' in stop.value.sentence
    assert load(noted)['meta']['iter'] == iteration
    run(data, kind, tmp_path / 'stopped', resume='auto', **options)
    wanted, actual = (load(tmp_path / name / last) for name in ('whole', 'stopped'))
    for key in ('state_dict', 'ema_state_dict', 'optimizer', 'param_schedulers'):
        assert not differing(wanted[key], actual[key]), key
    whole, stopped = (sorted(path.name for path in (tmp_path / name).glob('best*')) for name in ('whole', 'stopped'))
    assert whole == stopped


SHARED = dict(launcher='pytorch', sync_bn=None, model_wrapper_cfg=dict(
    type='MMDistributedDataParallel', device_ids=None, broadcast_buffers=False))


def in_a_group(rank, data, work_dir, hooks):
    """One of two processes that train together; its status is that of the tool."""
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE='2')
    torch.set_num_threads(1)
    torch.distributed.init_process_group('gloo', init_method=f'file://{work_dir}.group', rank=rank, world_size=2)
    try:
        with SIGNALS.handled():
            run(data, 'segmentor', work_dir, custom_hooks=hooks, **SHARED)
    except Stopped as stop:
        if stop.sentence:
            work_dir.with_suffix('.said').write_text(stop.sentence)
        sys.exit(stop.status)


class Slow(Hook):
    """One process is far behind the other in its validation."""

    def __init__(self, rank: int) -> None:
        self.rank = rank

    def after_val_iter(self, runner, **_) -> None:
        if runner.rank == self.rank:
            time.sleep(0.5)


HOOKS.register_module(module=Slow)


@pytest.mark.skipif(ALONE not in os.environ, reason='is run by the next test, in a process that started no threads')
@pytest.mark.parametrize('hit, slow', [(0, 0), (0, 1), (1, 0)])
def test_two_forks_leave_a_validation_together(data, tmp_path, hit, slow):
    """One alone gets the signal, while the other may have come to its last picture."""
    work_dir, fork = tmp_path / 'run', multiprocessing.get_context('fork')
    hooks = [dict(type='EMAHook', momentum=0.2), dict(type='Slow', rank=slow),
             dict(type='SendSignal', iteration=4, validation=True, rank=hit)]
    group = [fork.Process(target=in_a_group, args=(rank, data, work_dir, hooks)) for rank in range(2)]
    for process in group:
        process.start()
    for process in group:
        process.join(120)
        process.kill()
    assert [process.exitcode for process in group] == [143, 143]
    assert 'run/iter_4.pth holds the state of the run' in work_dir.with_suffix('.said').read_text()
    content = load(work_dir / 'iter_4.pth')
    assert content['meta']['iter'] == 4
    assert content['message_hub']['runtime_info']['last_validated_iter'] == 2, 'a resume begins with it'


def test_processes_leave_a_validation_together():
    """In a process of its own: a fork of one that has trained with several threads may wait for those it lacks."""
    words = [sys.executable, '-m', 'pytest', __file__, '-k', 'test_two_forks', '-p', 'no:cacheprovider']
    done = subprocess.run(words, env={**os.environ, ALONE: '1'}, cwd=ROOT, text=True, capture_output=True)
    assert done.returncode == 0 and '3 passed' in done.stdout, done.stdout
