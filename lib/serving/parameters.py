"""The parameters of a request, which say how to caption its images."""

from lib.decoding.options import DecodingOptions
from lib.errors import InputError

# The values that clients may ask for; what takes longer is left to the scripts.
RANGES = {
    'beam_width': (1, 100),
    'top': (1, 20),
    'mbr_samples': (0, 300),
    'mbr_neighbors': (0, 300),
}
NAMES = 'search', *RANGES


def parse_parameters(form, has_index: bool) -> DecodingOptions:
    """Parses the parameters of a request.

    Args:
        form (werkzeug.datastructures.MultiDict): The fields of the form, texts: those of
            :class:`lib.decoding.options.DecodingOptions` in :data:`RANGES`, and ``search``. All may
            be missing or empty.
        has_index (bool): Whether there is an index of captions of similar images.

    Returns:
        DecodingOptions: How to decode captions.

    Raises:
        InputError: If a parameter is unknown or invalid.
    """
    for name in form:
        if name not in NAMES:
            raise InputError('is unknown; the parameters are ' + ', '.join(NAMES), option=name)
    integers = {name: _integer(form, name, *limits) for name, limits in RANGES.items()}
    if integers['mbr_neighbors'] and not has_index:
        raise InputError('cannot be used: this server has no index', option='mbr_neighbors')
    return DecodingOptions.with_defaults(has_index, search=form.get('search') or None, **integers)


def _integer(form, name, low, high):
    """Returns the value of a parameter, None if it is missing or empty."""
    text = form.get(name)
    if not text:
        return None
    try:
        number = int(text)
    except ValueError:
        number = None
    if number is None or not low <= number <= high:
        raise InputError(f'{text} is not an integer from {low} to {high}', option=name)
    return number
