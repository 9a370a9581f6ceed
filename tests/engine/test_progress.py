"""A run tells how far it is, to the screen that started it."""
import json

import pytest
from tiny_runs import make_data, run

from cait_mm.config.screen import RELAY
from cait_mm.engine.progress import ProgressHook, tell_progress
from cait_mm.engine.run import build_runner


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    return make_data(tmp_path_factory.mktemp('progress'))


def with_hook(monkeypatch, register) -> None:
    def built(config):
        runner = build_runner(config)
        register(runner)
        return runner

    monkeypatch.setattr('tiny_runs.build_runner', built)


@pytest.fixture
def seen(monkeypatch) -> list:
    """What the hook tells in the runs of a test."""
    told = []
    with_hook(monkeypatch, lambda runner: runner.register_hook(ProgressHook(lambda *words: told.append(words))))
    return told


def test_iterations_count_also_after_a_resume_and_validations_are_named(data, tmp_path, seen):
    run(data, 'segmentor', tmp_path, stop=dict(iteration=4, save=True))
    assert seen[0] == (0, 7, 'iterations') and seen[-1] == (3, 7, 'iterations'), 'it is stopped before the hook'
    assert (2, 7, 'iterations', 'validating 1/8') in seen
    seen.clear()
    run(data, 'segmentor', tmp_path, resume='auto')
    assert seen[0] == (4, 7, 'iterations') and (7, 7, 'iterations') in seen
    assert {words[0] for words in seen} == {4, 5, 6, 7}
    assert seen[-1] == (7, 7, 'iterations', 'validating 8/8')


def test_epochs_count_in_iterations(data, tmp_path, seen):
    run(data, 'classifier', tmp_path)
    assert [words[0] for words in seen if len(words) == 3] == list(range(10))
    assert all(words[1] == 9 for words in seen)


def test_a_run_writes_progress_only_if_it_is_asked_to(data, tmp_path, monkeypatch):
    with_hook(monkeypatch, tell_progress)
    run(data, 'classifier', tmp_path / 'alone')
    assert not list(tmp_path.rglob('progress.json'))
    monkeypatch.setenv(RELAY, str(tmp_path / 'progress.json'))
    run(data, 'classifier', tmp_path / 'asked')
    assert json.loads((tmp_path / 'progress.json').read_text())[:3] == [9, 9, 'iterations']
