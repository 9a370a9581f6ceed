"""A run that is asked to stop saves where it is, and continues as if nothing had happened."""
import os
import signal

import pytest
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from tiny_runs import differing, load, make_data, run

from cait_mm.utils.signals import SIGNALS, Stopped


@HOOKS.register_module()
class SendSignal(Hook):
    """Signal this process in an iteration of training, or of the validation after it."""

    def __init__(self, iteration: int, validation: bool) -> None:
        self.iteration, self.validation = iteration, validation

    def before_train_iter(self, runner, **_) -> None:
        if runner.iter + 1 == self.iteration and not self.validation:
            os.kill(os.getpid(), signal.SIGTERM)

    def before_val_iter(self, runner, **_) -> None:
        if runner.iter == self.iteration and self.validation:
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
    assert stop.value.status == 143 and f'stopped by SIGTERM; {noted} holds what was done' in stop.value.sentence
    assert load(noted)['meta']['iter'] == iteration
    run(data, kind, tmp_path / 'stopped', resume='auto', **options)
    wanted, found = (load(tmp_path / name / last) for name in ('whole', 'stopped'))
    for key in ('state_dict', 'ema_state_dict', 'optimizer', 'param_schedulers'):
        assert not differing(wanted[key], found[key]), key
    whole, stopped = (sorted(path.name for path in (tmp_path / name).glob('best*')) for name in ('whole', 'stopped'))
    assert whole == stopped
