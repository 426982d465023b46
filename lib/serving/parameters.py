"""The parameters of a request, which say how to caption its images."""

from lib.decoding.options import DecodingOptions
from lib.errors import InputError

# Wider beams are better left to the scripts.
MAX_BEAM_WIDTH, MAX_TOP = 100, 20
# Samples of minimum Bayes risk: a third of the time that 300 take, and nearly as good.
MBR_SAMPLES = 100
# Similar images, if there is an index of them.
MBR_NEIGHBORS = 100
SEARCHES = 'beam', 'diverse', 'mbr', 'sample'
NAMES = 'beam_width', 'top', 'search', 'models'


def default_search(has_index: bool) -> str:
    """Returns the search that finds the best captions in little more time than beam search."""
    return 'mbr' if has_index else 'beam'


def parse_parameters(form, n_models: int, has_index: bool = False):
    """Parses the parameters of a request.

    Args:
        form (werkzeug.datastructures.MultiDict): The fields of the form, texts:

            * ``beam_width``: from 1 to :data:`MAX_BEAM_WIDTH`, by default 20;
            * ``top``: how many captions, from 1 to :data:`MAX_TOP` and to the beam width, by
              default 5;
            * ``search``: one of :data:`SEARCHES`, see :func:`default_search`;
            * ``models``: numbers of models, from 1, separated by commas; by default all.

        n_models (int): How many models there are.
        has_index (bool): Whether there is an index of captions for minimum Bayes risk.

    Returns:
        tuple: The numbers of the models, from 0, and the
        :class:`lib.decoding.options.DecodingOptions`.

    Raises:
        InputError: If a parameter is unknown or invalid.
    """
    for name, texts in form.lists():
        if name not in NAMES:
            raise InputError('is unknown; the parameters are ' + ', '.join(NAMES), option=name)
        if len(texts) > 1:
            raise InputError('is given twice', option=name)
    search = form.get('search') or default_search(has_index)
    beam_width = _integer(form, 'beam_width', MAX_BEAM_WIDTH) or DecodingOptions.beam_width
    options = {'beam_width': beam_width, 'top': _integer(form, 'top', MAX_TOP)}
    if search == 'diverse':
        options['search'] = 'diverse'
    elif search == 'mbr' and has_index:
        options['mbr_neighbors'] = MBR_NEIGHBORS
    elif search == 'mbr':
        options['mbr_samples'] = MBR_SAMPLES
    elif search == 'sample':
        options['search'] = 'sample'
    elif search != 'beam':
        raise InputError(f'{search!r} is not one of {", ".join(SEARCHES)}', option='search')
    return _models(form.get('models', ''), n_models), DecodingOptions.with_defaults(**options)


def _integer(form, name, largest):
    """Returns the value of a parameter, None if it is missing or empty."""
    text = form.get(name, '')
    if not text:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) < 10 and 1 <= int(text) <= largest):
        raise InputError(f'{text!r} is not an integer from 1 to {largest}', option=name)
    return int(text)


def _models(text, n_models):
    if not text:
        return tuple(range(n_models))
    numbers = text.split(',')
    if not set(numbers) <= {str(n) for n in range(1, n_models + 1)}:
        raise InputError(
            f'{text!r} is not a list of numbers of models, of which there are {n_models}',
            option='models',
        )
    return tuple(sorted({int(number) - 1 for number in numbers}))
