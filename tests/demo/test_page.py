"""tools/demo.py in a browser: a picture is dropped, both models answer, and nothing leaves this machine."""
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from conftest import ROOT
from tiny_runs import make_data, trained

CHROMIUM = next(filter(None, map(shutil.which, ('chromium', 'chromium-browser', 'google-chrome'))), None)
SECONDS = 90


@pytest.fixture(scope='module')
def browser() -> Iterator:
    pytest.importorskip('gradio', reason='pip install -r requirements/demo.txt')
    sync_api = pytest.importorskip('playwright.sync_api', reason='pip install -r requirements/demo.txt')
    if CHROMIUM is None:
        pytest.skip('there is no Chromium')
    with sync_api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=['--no-sandbox'])
        yield opened
        opened.close()


@pytest.fixture(scope='module')
def data(tmp_path_factory) -> Path:
    return make_data(tmp_path_factory.mktemp('page'))


def picture_of(data: Path) -> Path:
    return sorted((data / 'scenes/images/validation').iterdir())[0]


class Demo:
    """The tool in a process of its own, and its page in a browser."""

    def __init__(self, browser, folder: Path, words: list) -> None:
        self.errors, self.hosts, told = [], set(), folder / 'demo.json'
        self.output = open(folder / 'output', 'w+')  # noqa: SIM115
        self.process = subprocess.Popen(
            [sys.executable, ROOT / 'tools/demo.py', *map(str, words), '--device', 'cpu', '--json', told],
            stdout=self.output, stderr=subprocess.STDOUT,
            env={**os.environ, 'PYTHONPATH': str(ROOT), 'TMPDIR': str(folder), 'OMP_NUM_THREADS': '1'})
        end = time.monotonic() + SECONDS
        while not told.is_file() and self.process.poll() is None and time.monotonic() < end:
            time.sleep(0.1)
        assert told.is_file(), self.said()
        self.address = json.loads(told.read_text())['address']
        self.page = browser.new_page(viewport={'width': 1200, 'height': 1400})
        self.page.on('pageerror', lambda error: self.errors.append(str(error)))
        self.page.on('request', lambda request: self.hosts.add(urlsplit(request.url).hostname))
        self.page.goto(self.address)

    def said(self) -> str:
        self.output.seek(0)
        return self.output.read()

    def drop(self, path: Path) -> None:
        self.page.locator('input[type=file]').first.set_input_files(path)

    def text(self, part: str, wanted: str) -> str:
        """The text of a part of the page, as soon as it holds ``wanted``."""
        place = self.page.locator(part)
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            if place.count() and re.search(wanted, place.first.inner_text()):
                return place.first.inner_text()
            time.sleep(0.1)
        raise AssertionError(f'{part} has no {wanted!r}; the tool said: {self.said()}')

    def left(self, part: str) -> str:
        """The text of a part of the page now; none if it is hidden."""
        place = self.page.locator(part)
        return place.first.inner_text().strip() if place.count() and place.first.is_visible() else ''

    def end(self) -> int:
        self.page.close()
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(30)


def started(browser, data: Path, folder: Path, kind: str, classes: int, *words) -> Demo:
    models = {}
    for name in ('dense', 'small'):
        (folder / name).mkdir()
        config, checkpoint = trained(data, folder / name, kind, classes)
        models[name] = config.rename(config.with_name(f'{name}.py')), checkpoint
    return Demo(browser, folder, [*models['small'], '--against', *models['dense'], *words])


def test_a_picture_is_seen_by_both_and_a_broken_one_is_a_message(browser, data, tmp_path):
    demo = started(browser, data, tmp_path, 'segmentor', 10, '--images', data / 'scenes/images/validation')
    try:
        demo.drop(picture_of(data))
        times = demo.text('#times', r'small\s')
        assert re.search(r'dense\s+\d+ ms\s+1\.00x', times) and re.search(r'small\s+\d+ ms\s+\d\.\d\dx', times)
        assert '64x64' in times and demo.page.title() == 'dense and small'
        assert urlsplit(demo.address).hostname == '127.0.0.1'
        assert re.search(r'\d+\.\d% of the pixels differ', demo.text('#difference', 'differ'))
        pictures = demo.page.locator('#apart img').first
        assert pictures.evaluate('image => image.complete && image.naturalWidth') >= 480

        broken = tmp_path / 'broken.png'
        broken.write_bytes(picture_of(data).read_bytes()[:400])
        demo.drop(broken)
        message = demo.text('#message', 'did not work')
        assert 'the picture' in message and str(tmp_path) not in message and 'Traceback' not in message
        assert demo.left('#times') == demo.left('#difference') == '', 'nothing is left of the picture before'

        demo.page.locator('.gallery-item').first.click()  # one of those that are offered
        demo.text('#times', r'small\s')
        assert demo.left('#message') == ''
        assert demo.hosts <= {'127.0.0.1', None} and demo.errors == [], (demo.hosts, demo.errors)
    finally:
        status = demo.end()
    assert status == 0 and 'Traceback' not in demo.said()
    assert not list(tmp_path.glob('cait-demo-*')), 'uploads are gone'


@pytest.mark.parametrize('kind,classes,said', [('detector', 5, 'boxes are found by both'),
                                               ('classifier', 8, 'Their first guesses are')])
def test_other_tasks_are_shown_too(browser, data, tmp_path, kind, classes, said):
    demo = started(browser, data, tmp_path, kind, classes)
    try:
        demo.drop(picture_of(data))
        demo.text('#times', r'small\s')
        demo.text('#difference', said)
        assert demo.hosts <= {'127.0.0.1', None} and demo.errors == []
    finally:
        status = demo.end()
    assert status == 0 and 'Traceback' not in demo.said()


def test_without_gradio_or_models_it_is_a_sentence(tool, data, tmp_path, monkeypatch):
    status, _, err = tool('demo.py', '--quickstart', tmp_path)
    assert status == 2 and 'run bash tools/quickstart.sh first' in err
    status, _, err = tool('demo.py', 'a.py')
    assert status == 2 and 'give a CONFIG and its CHECKPOINT' in err
    monkeypatch.setitem(sys.modules, 'gradio', None)
    status, _, err = tool('demo.py', *trained(data, tmp_path, 'classifier', 8))
    assert status == 2 and 'pip install -r requirements/demo.txt' in err and 'Traceback' not in err
