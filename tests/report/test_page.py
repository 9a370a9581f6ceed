"""A page holds all of its data, nothing of it as markup, and loads nothing."""
import re
from html.parser import HTMLParser

import pytest
from report_pages import NAME, page_data, run_data

from cait_mm.errors import UserError
from cait_mm.report.page import MOST_BYTES, as_script, read, render, write

VOID = ('meta', 'link', 'img', 'input', 'br', 'hr')


class Outline(HTMLParser):
    """Tags that are open, ids, addresses, headings and words of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.open, self.ids, self.addresses, self.headings, self.words, self.tags = [], [], [], [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        attrs = dict(attrs)
        if tag not in VOID:
            self.open.append(tag)
        self.ids += [attrs['id']] if 'id' in attrs else []
        self.addresses += [value for name, value in attrs.items() if name in ('src', 'href', 'xlink:href')]
        if re.fullmatch('h[1-6]', tag):
            self.headings.append(int(tag[1]))

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, self.getpos()

    def handle_data(self, data):
        if self.open and self.open[-1] not in ('script', 'style'):
            self.words.append(data)


def outline(text):
    parser = Outline()
    parser.feed(text)
    assert parser.open == []
    return parser


@pytest.mark.parametrize('kind', ['classifier', 'segmentor', 'detector'])
def test_a_page_is_well_formed_and_loads_nothing(kind):
    text = render([{**page_data(kind), **run_data()}])
    found = outline(text)
    assert len(set(found.ids)) == len(found.ids)
    assert all(address.startswith(('data:', '#')) for address in found.addresses)
    assert not re.search(r'@import|url\((?!#)', text) and len(text.encode()) < MOST_BYTES
    assert found.headings[0] == 1 and found.headings.count(1) == 1
    assert all(after - before <= 1 for before, after in zip(found.headings, found.headings[1:]))


def test_names_and_texts_of_users_are_words_and_no_markup():
    found = outline(render([page_data()]))
    text = ' '.join(found.words)
    assert NAME in text and '<script>alert(1)</script>' in text and '<i>road</i>' in text
    assert found.tags.count('script') == 2 and 'b' not in found.tags and 'i' not in found.tags


def test_data_come_back_from_a_page(tmp_path):
    reports = [page_data('segmentor'), page_data('classifier')]
    assert read(write(tmp_path / 'a.html', reports)) == reports


@pytest.mark.parametrize('text', ['', '<html></html>', '<script id="data" type="application/json">[1]</script>',
                                  '<script id="data" type="application/json">{"a"</script>'])
def test_another_page_is_a_sentence(tmp_path, text):
    (tmp_path / 'a.html').write_text(text)
    with pytest.raises(UserError, match='a.html'):
        read(tmp_path / 'a.html')


def test_json_cannot_end_the_script_that_holds_it():
    assert not set('<>&\u2028\u2029') & set(as_script('</script><!-- & \u2028\u2029'))


def test_several_reports_are_compared_in_a_table():
    found = outline(render([page_data('classifier', 'first'), page_data('detector', 'second')]))
    assert {'#r0', '#r1'} <= set(found.addresses) and found.tags.count('article') == 2
    assert '2 compressed models side by side' in found.words


def test_parts_that_were_not_measured_are_left_out_and_named():
    data = {'name': 'x', 'arch': 'deit_tiny', 'kind': 'classifier', 'missing': ['speed: no clock'], 'quality': [],
            'facts': {}, 'texts': {}}
    found = outline(render([data]))
    text = ' '.join(found.words)
    assert 'Speed: no clock.' in text and 'not measured' in text and 'Tokens on a picture' not in text
