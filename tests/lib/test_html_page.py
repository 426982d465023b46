import base64
import io
import re
from html.parser import HTMLParser

from lib.html_page import Card, write_page
from tests.samples import write_photograph

from PIL import Image


class Texts(HTMLParser):
    """Collects a page's texts by the element they are in, and checks that elements are closed."""

    def __init__(self, page):
        super().__init__()
        self.open, self.texts = [], []
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        if tag not in ('img', 'meta'):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if data.strip():
            self.texts.append((self.open[-1], data.strip()))


def test_shows_photographs_captions_and_references(tmp_path):
    write_photograph(tmp_path / 'wide.jpg', size=(1200, 300))
    write_page(tmp_path / 'page.html', 'A <title> & more', [
        Card('wide.jpg', str(tmp_path / 'wide.jpg'), [('a dog', -0.5), ('a <b>', -20.0)],
             ['The dog.'], 'CIDEr 1.20'),
        Card('none.jpg', None, [('a cat', -3.0)])])
    page = (tmp_path / 'page.html').read_text(encoding='utf-8')
    texts = Texts(page).texts
    assert ('h1', 'A <title> & more') in texts
    assert [text for tag, text in texts if tag == 'h2'] == ['wide.jpg CIDEr 1.20', 'none.jpg']
    assert [text for tag, text in texts if tag == 'li'] == ['a dog', 'a <b>', 'The dog.', 'a cat']
    assert [text for tag, text in texts if tag == 'span'] == ['61 %', '2e-09', '5 %']
    picture, = re.findall(r'src="data:image/jpeg;base64,([^"]*)"', page)
    with Image.open(io.BytesIO(base64.b64decode(picture))) as image:
        assert image.size == (360, 90)
    assert 'http' not in page


def test_names_that_are_no_text_and_missing_pictures_do_no_harm(tmp_path):
    write_page(tmp_path / 'page.html', 'title', [Card('\udcff.jpg', 'missing.jpg', [('', 0.0)])])
    assert ('h2', '?.jpg') in Texts((tmp_path / 'page.html').read_text(encoding='utf-8')).texts
