"""Pages in a headless browser: no errors, controls that work, both colour schemes, a telephone."""
import shutil
from contextlib import contextmanager

import pytest
from report_pages import page_data, run_data

from cait_mm.report.page import write

BROWSER = shutil.which('chromium') or shutil.which('chromium-browser') or shutil.which('google-chrome')
sync_api = pytest.importorskip('playwright.sync_api', reason='playwright is not installed')
pytestmark = pytest.mark.skipif(BROWSER is None, reason='no Chromium is installed')
PHONE, DESK = (390, 844), (1200, 900)


@pytest.fixture(scope='module')
def chromium():
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, args=['--no-sandbox'])
        yield browser
        browser.close()


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp('pages')
    for kind in ('classifier', 'segmentor', 'detector'):
        write(folder / f'{kind}.html', [{**page_data(kind), **run_data()}])
    write(folder / 'several.html', [page_data('classifier', 'one'), page_data('segmentor', 'two')])
    return folder


@pytest.fixture
def shown(chromium, folder):
    """Open a page of the folder; it must have had no error and asked for nothing when it is left."""

    @contextmanager
    def shown(name, size=DESK, scheme='light'):
        context = chromium.new_context(viewport=dict(zip(('width', 'height'), size)), color_scheme=scheme, offline=True)
        page, troubles = context.new_page(), []
        page.on('console', lambda message: troubles.extend([message.text] * (message.type in ('error', 'warning'))))
        page.on('pageerror', lambda error: troubles.append(str(error)))
        page.on('request', lambda request: troubles.extend([request.url] * (request.url[:5] not in ('file:', 'data:'))))
        page.goto((folder / f'{name}.html').as_uri())
        page.wait_for_function('[...document.querySelectorAll("[data-part]")].every(part => part.children.length)')
        yield page
        context.close()
        assert troubles == []

    return shown


def drawn(page, selector):
    """The pixels of a canvas as text."""
    return page.locator(selector).evaluate('canvas => canvas.toDataURL()')


@pytest.mark.parametrize('name', ['classifier', 'segmentor', 'detector', 'several'])
@pytest.mark.parametrize('size', [PHONE, DESK], ids=['phone', 'desk'])
def test_a_page_fits_the_window_and_has_no_errors(shown, name, size):
    with shown(name, size) as page:
        assert page.evaluate('document.documentElement.scrollWidth') <= size[0]
        assert page.evaluate('window.broken') is None, 'a text of the user was run'


def test_tokens_are_told_by_pointer_and_keyboard(shown):
    with shown('classifier') as page:
        canvas, told = page.locator('[data-part=tokens] canvas'), page.locator('[data-part=tokens] .told')
        box = canvas.bounding_box()
        canvas.hover(position={'x': 2, 'y': 2})
        assert 'Token 1 of 49 stands for 4 patches, among them the patch in row 1, column 1' in told.text_content()
        before = drawn(page, '[data-part=tokens] canvas')
        canvas.hover(position={'x': box['width'] - 2, 'y': box['height'] - 2})
        assert 'Token 49 of 49' in told.text_content() and drawn(page, '[data-part=tokens] canvas') != before
        canvas.focus()
        for _ in range(2):
            page.keyboard.press('ArrowUp')
        assert 'Token 42 of 49' in told.text_content() and 'row 12, column 14' in told.text_content()
        page.locator('[data-part=tokens] button').first.press('Enter')
        assert 'Token 168 of 196 stands for 1 patch,' in told.text_content()


def test_a_tap_tells_a_token(chromium, folder):
    context = chromium.new_context(viewport=dict(width=390, height=844), has_touch=True, is_mobile=True)
    page = context.new_page()
    page.goto((folder / 'classifier.html').as_uri())
    page.locator('[data-part=tokens] canvas').tap(position={'x': 3, 'y': 3})
    assert 'Token 1 of 49' in page.locator('[data-part=tokens] .told').text_content()
    context.close()


def test_attention_follows_the_patch_that_asks(shown):
    with shown('classifier') as page:
        place, told = '[data-part=attention]', page.locator('[data-part=attention] .told')
        assert told.text_content() == 'CLS asks.'
        before = [drawn(page, f'{place} figure:nth-of-type({number}) canvas') for number in (1, 2)]
        page.locator(f'{place} figure:nth-of-type(2) canvas').click(position={'x': 5, 'y': 5})
        assert told.text_content() == 'The patch in row 1, column 1 asks.'
        after = [drawn(page, f'{place} figure:nth-of-type({number}) canvas') for number in (1, 2)]
        assert before[0] != after[0] and before[1] != after[1]
        page.keyboard.press('ArrowRight')
        assert told.text_content() == 'The patch in row 1, column 2 asks.'
        page.locator(f'{place} button').click()
        assert [drawn(page, f'{place} figure:nth-of-type({number}) canvas') for number in (1, 2)] == before


def test_the_slider_moves_the_border_between_the_models(shown):
    for name in ('segmentor', 'detector'):
        with shown(name) as page:
            slider = page.locator('input[type=range]')
            slider.focus()
            for _ in range(10):
                page.keyboard.press('ArrowRight')
            assert slider.input_value() == '60'
            assert page.locator('.pane').evaluate('pane => pane.style.getPropertyValue("--cut")') == '60%'
            clips = [page.locator(f'.pane .{side}').evaluate('layer => getComputedStyle(layer).clipPath')
                     for side in ('left', 'right')]
            assert clips[0] == 'inset(0px 40% 0px 0px)' and clips[1] == 'inset(0px 0px 0px 60%)', clips


def test_pictures_are_sorted_and_can_be_chosen(shown):
    with shown('segmentor') as page:
        thumbs = page.locator('.thumbs button')
        shares = [float(text.split(' %')[0]) for text in thumbs.all_text_contents()]
        assert shares == sorted(shares, reverse=True) and len(shares) == 3
        thumbs.nth(2).press('Enter')
        assert thumbs.nth(2).get_attribute('aria-pressed') == 'true'
        assert '2.png' in page.locator('.predictions .soft').text_content()
        page.get_by_label('mark the pixels that differ').check()
        assert page.locator('.pane img').count() == 4
        page.get_by_label('show the labels instead').check()
        assert page.locator('.pane img').count() == 3


def test_guesses_of_a_chosen_picture_are_listed(shown):
    with shown('classifier') as page:
        assert 'other guess, 40 % apart' in page.locator('.thumbs button').first.text_content()
        assert page.locator('.guesses li').first.text_content().replace(' ', '').startswith('tench70%')


def test_dark_and_light_have_their_colours_with_enough_contrast(shown):
    backs = []
    for scheme in ('light', 'dark'):
        with shown('segmentor', scheme=scheme) as page:
            colours = page.evaluate('''() => {
                const named = {};
                const probe = document.body.appendChild(document.createElement('span'));
                for (const name of ['back', 'panel', 'ink', 'soft', 'small', 'lost', 'won', 'note']) {
                    probe.style.color = `var(--${name})`;
                    named[name] = getComputedStyle(probe).color.match(/\\d+/g).map(Number);
                }
                probe.remove();
                return named;
            }''')
            backs.append(colours['back'])
            for back in ('back', 'panel'):
                for name in ('ink', 'soft', 'small', 'lost', 'won', 'note'):
                    assert contrast(colours[name], colours[back]) >= 4.5, (scheme, name, back)
    assert luminance(backs[0]) > 0.9 and luminance(backs[1]) < 0.1


def luminance(colour):
    linear = [value / 3294.6 if value <= 10 else ((value / 255 + 0.055) / 1.055)**2.4 for value in colour]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one, other):
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)
