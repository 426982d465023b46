"""The flags that say how to find captions, and the search they ask for."""

import functools

from lib.beam_search import beam_search
from lib.command_line import non_negative_float, non_negative_int, positive_float, positive_int
from lib.consensus import rank_by_consensus
from lib.constraints import MinimumLength, NoRepeatedNgrams
from lib.diverse_beam_search import diverse_beam_search
from lib.errors import InputError
from lib.sampling import sample


def add_search_flags(parser, several_widths=False):
    """Adds the flags; ``--beam-width`` takes several values if that is said."""
    group = parser.add_argument_group('search')
    if several_widths:
        group.add_argument('--beam-width', type=positive_int, nargs='+', default=[20],
                           metavar='M', help='sentences kept at each step; one row of scores each')
    else:
        group.add_argument('--beam-width', type=positive_int, default=20, metavar='M',
                           help='sentences kept at each step')
    group.add_argument('--max-length', type=positive_int, default=60, metavar='N',
                       help='most words of a caption')
    group.add_argument('--min-length', type=non_negative_int, default=0, metavar='N',
                       help='fewest words of a caption')
    group.add_argument('--length-normalization', type=non_negative_float, default=0,
                       metavar='POWER',
                       help='rank captions of n words by their log-probability divided by n to '
                            'this power; 0 ranks by log-probability, 1 by its mean')
    group.add_argument('--no-repeat', type=non_negative_int, default=0, metavar='N',
                       help='use no N words in a row twice in a caption; 0 allows it')
    group.add_argument('--groups', type=positive_int, default=1, metavar='G',
                       help='diverse beam search: groups that the beam is divided into; 1 is '
                            'plain beam search')
    group.add_argument('--diversity', type=non_negative_float, default=0.5, metavar='NATS',
                       help="what a word costs that another group has chosen in the same step")
    group.add_argument('--consensus', type=non_negative_int, default=0, metavar='N',
                       help="rank the beam's sentences by how well N captions drawn at random "
                            'agree with them, such as 300; 0 ranks them by probability')
    group.add_argument('--sample', action='store_true',
                       help='draw captions at random instead of searching')
    group.add_argument('--temperature', type=positive_float, default=1.0, metavar='T',
                       help='of what --sample and --consensus draw: below 1 probable words '
                            'become more so')


def make_search(args):
    """Returns the search that the flags ask for.

    Returns:
        callable: Takes a model, features, the beam width and how many captions to return;
        gives lists of :class:`lib.beam_search.Sentence`.

    Raises:
        InputError: If flags contradict each other.
    """
    check_flags(args)
    constraints = ([MinimumLength(args.min_length)] if args.min_length else []) + (
        [NoRepeatedNgrams(args.no_repeat)] if args.no_repeat else [])
    if args.sample:
        return lambda model, features, beam_width, top: sample(
            model, features, top, args.temperature, args.max_length, constraints)
    options = {'max_length': args.max_length, 'constraints': constraints,
               'length_normalization': args.length_normalization}
    if args.groups > 1:
        search = functools.partial(diverse_beam_search, groups=args.groups,
                                   diversity=args.diversity, **options)
    else:
        search = functools.partial(beam_search, **options)
    if not args.consensus:
        return search

    def search_and_rank(model, features, beam_width, top):
        sentences = search(model, features, beam_width=beam_width, top=beam_width)
        ranked = rank_by_consensus(model, features, sentences, args.consensus, args.temperature,
                                   args.max_length)
        return [best[:top] for best in ranked]
    return search_and_rank


def check_flags(args):
    widths = args.beam_width if isinstance(args.beam_width, list) else [args.beam_width]
    for width in widths:
        if width % args.groups:
            raise InputError(f'--groups {args.groups}: a beam of {width} (--beam-width) cannot be '
                             'divided into so many equal groups')
    if args.min_length > args.max_length:
        raise InputError(f'--min-length {args.min_length} is more than --max-length '
                         f'{args.max_length}')
    for name, asked in ('groups', args.groups > 1), ('consensus', args.consensus):
        if args.sample and asked:
            raise InputError(f'--sample draws captions at random; --{name} is for beam search')
