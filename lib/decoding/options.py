"""The options of decoding, the same for a script, a notebook and a server."""

import dataclasses
import numbers
from dataclasses import dataclass

from lib.decoding.decode import SEARCHES, takes
from lib.errors import InputError


def _option(default, help, metavar='N', low=0, high=10_000, choices=None, with_index=None):
    """Returns a field of :class:`DecodingOptions`.

    Args:
        default: Its default.
        help (str): What ``--help`` says of its flag.
        metavar (str): What ``--help`` calls its value.
        low, high: The smallest and the largest value of a number. Larger ones would take all
            memory or time.
        choices (collection of str): The values of a text.
        with_index: The default where captions are ranked by those of similar images.
    """
    metadata = {'help': help, 'metavar': metavar, 'low': low, 'high': high}
    metadata |= {'choices': choices, 'with_index': with_index}
    return dataclasses.field(default=default, metadata=metadata)


@dataclass(frozen=True)
class DecodingOptions:
    """How captions are decoded.

    The fields say what each option does and which values it may have; flags are made from them. A
    search ignores the options that its function does not take.

    Raises:
        InputError: If an option is out of range, or options contradict each other.
    """

    search: str = _option(
        'beam', 'beam search, diverse beam search, or captions drawn at random', choices=SEARCHES
    )
    beam_width: int = _option(20, 'captions kept at each step of a beam', 'M', low=1, with_index=50)
    top: int = _option(5, 'captions per image, at most the beam width', low=1)
    max_length: int = _option(60, 'maximum number of tokens of a caption', low=1)
    min_length: int = _option(0, 'minimum number of tokens of a caption')
    length_normalization: float = _option(
        0,
        'rank captions by log-probability divided by length to this power; 0 ranks by '
        'log-probability, 1 by its mean per token',
        metavar='POWER',
        high=10,
    )
    no_repeat_ngram: int = _option(
        0, 'forbid repeating any N-gram within a caption; 0 turns this off'
    )
    forbid_unknown: bool = _option(False, 'let captions contain no <UNK>')
    beam_groups: int = _option(
        5, 'groups of --search diverse, a divisor of the beam width', 'G', low=1, high=100
    )
    diversity_penalty: float = _option(
        0.5, 'cost of a token that an earlier group has chosen in the same step', 'NATS', high=1000
    )
    temperature: float = _option(
        1.0,
        'temperature of --search sample and --mbr-samples; below 1 probable tokens become more '
        'probable',
        metavar='T',
        low=0.001,
        high=1000,
    )
    mbr_samples: int = _option(
        0,
        'rank the captions of the beam by minimum Bayes risk against N sampled ones, such as 300; '
        '0 does not',
    )
    mbr_neighbors: int = _option(
        0,
        'rank the captions of the beam by minimum Bayes risk against those of the K most similar '
        'images of --index, and against samples as well if there are any; 0 does not',
        metavar='K',
        high=1000,
        with_index=100,
    )

    def __post_init__(self):
        for field in dataclasses.fields(self):
            _check(field, getattr(self, field.name))
        if self.has_beam and self.top > self.beam_width:
            raise InputError(f'{self.top} exceeds the beam width {self.beam_width}', option='top')
        if takes(self.search, 'beam_groups') and self.beam_width % self.beam_groups:
            raise InputError(
                f'{self.beam_groups}: a beam of width {self.beam_width} cannot be divided into '
                'this many equal groups',
                option='beam_groups',
            )
        if self.min_length > self.max_length:
            raise InputError(
                f'{self.min_length} exceeds the maximum length {self.max_length}',
                option='min_length',
            )
        for name in 'mbr_samples', 'mbr_neighbors':
            if getattr(self, name) and not self.has_beam:
                raise InputError(f'cannot be combined with search {self.search}', option=name)

    @property
    def has_beam(self) -> bool:
        """Whether the search keeps ``beam_width`` captions of each image, which can be ranked."""
        return takes(self.search, 'beam_width')

    @classmethod
    def with_defaults(cls, has_index: bool = False, **given) -> 'DecodingOptions':
        """Returns options whose defaults depend on each other and on whether there is an index.

        With an index, captions of a beam are ranked by those of similar images, unless
        ``mbr_neighbors`` is 0. The default of ``top`` is at most the beam width, and
        that of ``beam_groups`` divides it.

        Args:
            has_index (bool): Whether there is an index of captions.
            given: Options; None stands for the default.

        Raises:
            InputError: As above.
        """
        options = {name: value for name, value in given.items() if value is not None}
        fields = {field.name: field for field in dataclasses.fields(cls)}
        for name in options.keys() - fields.keys():
            raise InputError(f'is unknown; the options are {", ".join(fields)}', name)
        for name, field in fields.items():
            if name in options:
                _check(field, options[name])
        search = options.get('search', cls.search)
        has_beam = takes(search, 'beam_width')
        if has_index and has_beam and options.get('mbr_neighbors') != 0:
            for name, field in fields.items():
                if field.metadata['with_index'] is not None:
                    options.setdefault(name, field.metadata['with_index'])
        beam_width = options.get('beam_width', cls.beam_width)
        if has_beam:
            options.setdefault('top', min(cls.top, beam_width))
        if takes(search, 'beam_groups'):
            divisors = [n for n in range(2, cls.beam_groups + 1) if beam_width % n == 0]
            options.setdefault('beam_groups', max(divisors, default=beam_width))
        return cls(**options)


def _check(field, value):
    """Checks the type and the range of an option."""
    kind = {int: numbers.Integral, float: numbers.Real}.get(field.type, field.type)
    if not isinstance(value, kind) or (isinstance(value, bool) and field.type is not bool):
        raise InputError(f'{value!r} is not of type {field.type.__name__}', field.name)
    low, high, choices = (field.metadata[name] for name in ('low', 'high', 'choices'))
    if choices and value not in choices:
        raise InputError(f'{value!r} is not one of {", ".join(choices)}', field.name)
    if isinstance(value, numbers.Real) and not low <= value <= high:
        raise InputError(f'{value} is not from {low} to {high}', field.name)
