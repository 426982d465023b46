"""The parameters of a request, which say how to caption its images."""

from lib.decoding.options import DecodingOptions
from lib.errors import InputError

# The largest values that clients may ask for; what takes longer is left to the scripts.
MAXIMA = {'beam_width': 100, 'top': 20, 'mbr_samples': 300, 'mbr_neighbors': 300}
NAMES = 'search', *MAXIMA, 'models'


def parse_parameters(form, n_models: int, has_index: bool):
    """Parses the parameters of a request.

    Args:
        form (werkzeug.datastructures.MultiDict): The fields of the form, texts: those of
            :class:`lib.decoding.options.DecodingOptions` in :data:`MAXIMA`, up to these values;
            ``search``; and ``models``, numbers of models, from 1, separated by commas. All may be
            missing or empty.
        n_models (int): How many models there are.
        has_index (bool): Whether there is an index of captions of similar images.

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
    integers = {name: _integer(form, name, largest) for name, largest in MAXIMA.items()}
    if integers['mbr_neighbors'] and not has_index:
        raise InputError('cannot be used: this server has no index', option='mbr_neighbors')
    options = DecodingOptions.with_defaults(
        has_index, search=form.get('search') or None, **integers
    )
    return _models(form.get('models'), n_models), options


def _integer(form, name, largest):
    """Returns the value of a parameter, None if it is missing or empty."""
    text = form.get(name)
    if not text:
        return None
    try:
        number = int(text)
    except ValueError:
        number = None
    if number is None or number > largest:
        raise InputError(f'{text!r} is not an integer up to {largest}', option=name)
    return number


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
