"""The page of the server, in a headless browser."""

import re
import shutil

import pytest

from tests.helpers.samples import write_image
from tests.helpers.server import ServedFolder, serving

pytest.importorskip('flask')
playwright = pytest.importorskip('playwright.sync_api')

BROWSERS = 'chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable'
BROWSER = next(filter(None, map(shutil.which, BROWSERS)), None)
pytestmark = pytest.mark.skipif(BROWSER is None, reason='no Chromium is installed')
DESK = {'viewport': {'width': 1280, 'height': 900}}
PHONE = {'viewport': {'width': 390, 'height': 844}, 'has_touch': True, 'is_mobile': True}
# Gives the page an event with files, as the browser does when they are dropped or pasted.
SEND_FILES = """([kind, property, names]) => {
    const transfer = new DataTransfer();
    for (const name of names) transfer.items.add(new File(['not an image'], name));
    const event = new Event(kind, {bubbles: true, cancelable: true});
    Object.defineProperty(event, property, {value: transfer});
    document.body.dispatchEvent(event);
    return event.defaultPrevented;
}"""


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    folder = ServedFolder(tmp_path_factory.mktemp('page'))
    (folder.path / 'samples').mkdir()
    for seed in range(2):
        write_image(folder.path / 'samples' / f'{seed}.jpg', seed)
    return folder


@pytest.fixture(scope='module')
def server(folder):
    with serving(*folder.arguments, '--samples', folder.path / 'samples') as server:
        yield server


@pytest.fixture(scope='module')
def browser():
    flags = {'executable_path': BROWSER, 'args': ['--no-sandbox']}
    with playwright.sync_playwright() as driver, driver.chromium.launch(**flags) as browser:
        yield browser


@pytest.fixture
def open_page(server, browser):
    """Opens the page; it must neither report errors nor request anything from elsewhere."""
    problems, pages = [], []

    def open_page(**options):
        page = browser.new_context(**(options or DESK)).new_page()
        pages.append(page)
        page.on('pageerror', lambda error: problems.append(str(error)))
        page.on('console', lambda message: problems.append(message.text))
        url = f'http://127.0.0.1:{server.port}/'
        page.on('request', lambda request: check_url(request.url, url))
        page.goto(url)
        return page

    def check_url(url, expected):
        if not url.startswith((expected, f'blob:{expected}')):
            problems.append(url)

    yield open_page
    for page in pages:
        page.context.close()
    # The browser's own messages about statuses that tests provoke.
    assert [text for text in problems if not text.startswith('Failed to load resource')] == []


def card(page, name):
    return page.locator('.card').filter(has=page.get_by_role('heading', name=name))


def wait_until_done(page):
    playwright.expect(page.get_by_role('status')).to_have_text(re.compile('^Done'))


def captions_of(page, name):
    """Returns the captions on an image's card, without their probabilities."""
    texts = card(page, name).get_by_role('listitem').all_inner_texts()
    return [text.split('\n')[0] for text in texts]


@pytest.mark.parametrize('size', [DESK, PHONE, {**DESK, 'color_scheme': 'dark'}])
def test_images_become_cards_with_their_captions(folder, open_page, tmp_path, size):
    expected, page = folder.captions(), open_page(**size)
    page.get_by_label('Choose images').set_input_files(folder.images[:5])
    wait_until_done(page)
    assert page.get_by_role('status').inner_text() == 'Done: 5 images'
    headings = page.locator('.card').get_by_role('heading').all_inner_texts()
    assert headings == [path.name for path in folder.images[:5]]
    for path in folder.images[:5]:
        texts = [caption['caption'] or '(empty)' for caption in expected[path.name]['captions']]
        assert captions_of(page, path.name) == texts
    page.screenshot(path=tmp_path / 'page.png', full_page=True)
    # Nothing is wider than the screen.
    width = page.evaluate('document.documentElement.scrollWidth')
    assert width <= size['viewport']['width']
    is_phone = size is PHONE
    assert page.get_by_label('Take a photograph').count() == 1
    assert page.locator('#camera').is_visible() == is_phone


def test_a_single_caption_is_read_out(folder, open_page):
    page = open_page()
    page.get_by_label('Choose images').set_input_files(folder.images[0])
    wait_until_done(page)
    best = folder.captions()['0.jpg']['captions'][0]['caption']
    assert page.get_by_role('status').inner_text() == f'Done: 0.jpg: {best or "(empty)"}'


def test_everything_can_be_reached_with_the_keyboard(open_page):
    page = open_page()
    page.get_by_role('button', name='Caption sample 2').wait_for()
    reached = []
    for _ in range(12):
        page.keyboard.press('Tab')
        reached.append(
            page.evaluate(
                'document.activeElement.id || document.activeElement.name || '
                'document.activeElement.firstElementChild?.alt'
            )
        )
    assert reached[:6] == [
        'choose',
        'Caption sample 1',
        'Caption sample 2',
        'search',
        'beam_width',
        'top',
    ]
    page.get_by_role('button', name='Caption sample 2').focus()
    page.keyboard.press('Enter')
    wait_until_done(page)
    assert len(captions_of(page, 'sample 2')) == 5
    # There is something to do with them now.
    for name in 'Caption again', 'Remove all':
        assert page.get_by_role('button', name=name).is_enabled()


@pytest.mark.parametrize('kind, attribute', [('drop', 'dataTransfer'), ('paste', 'clipboardData')])
def test_files_can_be_dropped_and_pasted(open_page, kind, attribute):
    page = open_page()
    page.evaluate(SEND_FILES, [kind, attribute, ['a.jpg', 'b.jpg']])
    wait_until_done(page)
    for name in 'a.jpg', 'b.jpg':
        error = 'Not captioned: not an image, or of an unknown format.'
        playwright.expect(card(page, name).locator('.error')).to_have_text(error)


def test_a_dropped_file_never_replaces_the_page(open_page):
    page = open_page()
    for kind in 'dragover', 'drop':
        assert page.evaluate(SEND_FILES, [kind, 'dataTransfer', []])


def test_options_change_the_captions(folder, open_page):
    page = open_page()
    page.get_by_label('Choose images').set_input_files(folder.images[0])
    wait_until_done(page)
    for changes, flags in (
        ({'Beam width': '3', 'Captions': '2'}, ['--beam-width', 3, '--top', 2]),
        ({'Beam width': '20', 'Captions': '7'}, ['--top', 7]),
        (
            {'Search': 'Diverse beam search'},
            ['--top', 7, '--beam-width', 20, '--search', 'diverse'],
        ),
    ):
        for label, value in changes.items():
            field = page.get_by_label(label, exact=True)
            field.select_option(value) if label == 'Search' else field.fill(value)
        page.get_by_role('button', name='Caption again').click()
        expected = folder.captions(*flags)['0.jpg']['captions']
        playwright.expect(card(page, '0.jpg').get_by_role('listitem')).to_have_count(len(expected))
        wait_until_done(page)
        texts = [caption['caption'] or '(empty)' for caption in expected]
        assert captions_of(page, '0.jpg') == texts
    searches = page.locator('#search option').all_text_contents()
    # Ranking by similar images is missing, since the server was started without an index.
    assert searches == [
        'Beam search', 'Minimum Bayes risk, samples', 'Diverse beam search', 'Sampling'
    ]  # fmt: skip
    for search in 'Minimum Bayes risk, samples', 'Sampling':
        page.get_by_label('Search').select_option(search)
        page.get_by_role('button', name='Caption again').click()
        wait_until_done(page)
        assert len(captions_of(page, '0.jpg')) == 7


def test_invalid_options_can_be_corrected(folder, open_page):
    page = open_page()
    page.get_by_label('Beam width').fill('200')
    page.get_by_label('Choose images').set_input_files(folder.images[:3])
    status = page.get_by_role('status')
    playwright.expect(status).to_have_text('Correct the options, then choose "Caption again".')
    page.get_by_label('Beam width').fill('2')  # fewer than the captions to show
    page.get_by_role('button', name='Caption again').click()
    assert page.locator('[aria-busy]').count() == 0
    page.get_by_label('Captions', exact=True).fill('2')
    page.get_by_role('button', name='Caption again').click()
    wait_until_done(page)
    assert [len(captions_of(page, f'{n}.jpg')) for n in range(3)] == [2, 2, 2]


def test_captioning_again_replaces_what_is_running(folder, open_page):
    page, held = open_page(), []

    def hold(route):
        if len(held) < 4:  # two requests of each time
            held.append(route)
        else:
            route.continue_()

    page.route('**/captions', hold)
    page.get_by_label('Choose images').set_input_files(folder.images[:5])
    status = page.get_by_role('status')
    playwright.expect(status).to_have_text('Captioned 0 of 5 …')
    playwright.expect(page.get_by_text('Captioning …')).to_have_count(2)
    page.get_by_label('Captions', exact=True).fill('3')
    page.get_by_role('button', name='Caption again').click()
    playwright.expect(status).to_have_text('Captioned 0 of 5 …')
    while len(held) < 4:
        page.wait_for_timeout(10)
    for route in held[2:]:
        route.continue_()
    wait_until_done(page)
    assert status.inner_text() == 'Done: 5 images'
    assert [len(captions_of(page, f'{n}.jpg')) for n in range(5)] == [3] * 5


def test_removed_images_are_no_longer_captioned(folder, open_page):
    page, held = open_page(), []
    page.route('**/captions', lambda route: held.append(route))
    page.get_by_label('Choose images').set_input_files(folder.images[:5])
    playwright.expect(page.get_by_text('Captioning …')).to_have_count(2)
    page.get_by_role('button', name='Remove all').click()
    assert page.locator('.card').count() == 0
    assert page.evaluate('document.activeElement.id') == 'choose'
    page.wait_for_timeout(100)
    assert len(held) == 2  # those that had been sent
    assert page.get_by_role('status').inner_text() == 'Removed all images'
    assert not page.get_by_role('progressbar').is_visible()
    page.unroute('**/captions')
    page.get_by_label('Choose images').set_input_files(folder.images[:2])
    wait_until_done(page)
    assert page.get_by_role('status').inner_text() == 'Done: 2 images'


def test_hostile_names_are_shown_as_they_are(open_page):
    page, name = open_page(), '<img src=x onerror="document.title=1">.jpg'
    page.evaluate(SEND_FILES, ['drop', 'dataTransfer', [name]])
    wait_until_done(page)
    assert page.locator('.card h2').inner_text() == name
    assert page.title() == 'Show and Tell'


def test_files_that_are_too_large_are_not_sent(open_page, tmp_path):
    page = open_page()
    page.on('request', lambda request: pytest.fail('sent') if request.method == 'POST' else None)
    (tmp_path / 'large.jpg').write_bytes(bytes(40_000_001))
    page.get_by_label('Choose images').set_input_files(tmp_path / 'large.jpg')
    wait_until_done(page)
    error = card(page, 'large.jpg').locator('.error').inner_text()
    assert error == 'Too large: this server takes files of up to 40 MB.'


def test_a_server_that_is_gone_is_named(folder, open_page):
    page = open_page()
    page.route('**/captions', lambda route: route.abort())
    page.get_by_label('Choose images').set_input_files(folder.images[0])
    wait_until_done(page)
    error = card(page, '0.jpg').locator('.error').inner_text()
    assert error == 'The server does not answer. Is it still running?'
