import dataclasses

import pytest

from lib.cli.parser import ArgumentParser
from lib.decoding.flags import add_decoding_flags, decoding_options
from lib.decoding.options import DecodingOptions
from lib.errors import InputError


def parse(flags, **settings):
    parser = ArgumentParser('')
    add_decoding_flags(parser, **settings)
    return parser.parse_args(flags.split())


def test_every_option_has_a_flag():
    given = DecodingOptions(
        'diverse', 12, 4, 9, 3, 0.5, 2, True, 3, 2.0, 0.5, mbr_samples=6, mbr_neighbors=7
    )
    flags = ['--index index.h5']
    for field in dataclasses.fields(given):
        value = getattr(given, field.name)
        if value == field.default:
            continue
        flags.append(f'--{field.name.replace("_", "-")}{"" if value is True else f" {value}"}')
    assert decoding_options(parse(' '.join(flags))) == given


def test_flags_that_are_not_given_get_the_defaults():
    assert decoding_options(parse('')) == DecodingOptions()
    options = decoding_options(parse('--index index.h5 --min-length 3'))
    assert options == DecodingOptions(beam_width=50, mbr_neighbors=100, min_length=3)


def test_changes_replace_flags():
    args = parse('--beam-width 3 30', several_beam_widths=True, without=['top'])
    assert args.beam_width == [3, 30]
    options = [decoding_options(args, beam_width=width, top=1) for width in args.beam_width]
    assert options == [DecodingOptions(beam_width=width, top=1) for width in (3, 30)]


@pytest.mark.parametrize(
    'flags, option, message',
    [
        ('--mbr-neighbors 5', 'mbr_neighbors', 'needs --index, which index_captions.py writes'),
        ('--index i.h5 --search sample', 'index', 'i.h5: --search sample ranks no captions'),
        ('--beam-groups 5', 'beam_groups', 'has no effect with --search beam'),
        ('--temperature 2', 'temperature', 'has no effect with --search beam'),
        ('--search sample --beam-width 3', 'beam_width', 'has no effect with --search sample'),
        ('--beam-width 0', 'beam_width', '0 is not from 1 to 10000'),
        ('--search diverse --beam-groups 3', 'beam_groups', '3: a beam of width 20 cannot be'),
    ],
)
def test_flags_that_contradict_each_other_are_rejected(flags, option, message):
    with pytest.raises(InputError, match=message) as raised:
        decoding_options(parse(flags))
    assert raised.value.option == option


def test_a_temperature_has_an_effect_on_the_samples_of_minimum_bayes_risk():
    options = decoding_options(parse('--temperature 2 --mbr-samples 5 --no-repeat-ngram 3'))
    assert (options.temperature, options.mbr_samples) == (2, 5)


@pytest.mark.parametrize(
    'flags', ['--beam-width x', '--temperature x', '--search greedy', '--max-length 1.5']
)
def test_values_of_another_type_are_rejected(flags):
    with pytest.raises(InputError, match=flags.split()[0]):
        parse(flags)
