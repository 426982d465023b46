import base64
import io
import re
from html.parser import HTMLParser

from PIL import Image

from lib.decoding.caption import Caption
from lib.evaluation.html_gallery import Card, write_gallery
from tests.helpers.samples import write_image


class TextCollector(HTMLParser):
    """Collects a page's texts with the elements they are in; checks that elements are closed."""

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


def test_page_shows_images_captions_and_references(tmp_path):
    write_image(tmp_path / 'wide.jpg', size=(1200, 300))
    captions = [Caption([3, 4], -0.5, 'a dog'), Caption([3, 5], -20.0, 'a <b>')]
    cards = [
        Card('wide.jpg', str(tmp_path / 'wide.jpg'), captions, ['The dog.'], 'CIDEr 1.20'),
        Card('none.jpg', None, [Caption([3, 6], -3.0, 'a cat')]),
    ]
    write_gallery(tmp_path / 'page.html', 'A <title> & more', cards)
    page = (tmp_path / 'page.html').read_text(encoding='utf-8')
    texts = TextCollector(page).texts
    assert ('h1', 'A <title> & more') in texts
    assert [text for tag, text in texts if tag == 'h2'] == ['wide.jpg CIDEr 1.20', 'none.jpg']
    assert [text for tag, text in texts if tag == 'li'] == ['a dog', 'a <b>', 'The dog.', 'a cat']
    assert [text for tag, text in texts if tag == 'span'] == ['61 %', '2.1e-07 %', '5 %']
    (jpeg,) = re.findall(r'src="data:image/jpeg;base64,([^"]*)"', page)
    with Image.open(io.BytesIO(base64.b64decode(jpeg))) as image:
        assert image.size == (360, 90)
    assert 'http' not in page


def test_missing_images_and_names_that_are_not_utf_8_leave_the_page_valid(tmp_path):
    cards = [Card('\udcff.jpg', 'missing.jpg', [Caption([], 0.0, '')])]
    write_gallery(tmp_path / 'page.html', 'title', cards)
    page = (tmp_path / 'page.html').read_text(encoding='utf-8')
    assert ('h2', '?.jpg') in TextCollector(page).texts
