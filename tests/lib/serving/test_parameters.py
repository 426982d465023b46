"""The parameters of a request."""

import pytest
from werkzeug.datastructures import MultiDict

from lib.decoding.options import DecodingOptions
from lib.errors import InputError
from lib.serving.parameters import parse_parameters


@pytest.mark.parametrize(
    'form, has_index, expected',
    [
        ({}, False, {}),
        ({'beam_width': '', 'search': '', 'top': ''}, False, {}),
        ({'beam_width': '3', 'top': '2'}, False, {'beam_width': 3, 'top': 2}),
        ({'beam_width': '2'}, False, {'beam_width': 2, 'top': 2}),
        ({'search': 'diverse'}, False, {'search': 'diverse', 'beam_groups': 5}),
        ({'search': 'sample', 'top': '9'}, True, {'search': 'sample', 'top': 9}),
        ({'mbr_samples': '100'}, False, {'mbr_samples': 100}),
        ({}, True, {'beam_width': 50, 'mbr_neighbors': 100}),
        ({'mbr_neighbors': '7'}, True, {'beam_width': 50, 'mbr_neighbors': 7}),
        ({'mbr_neighbors': '0'}, True, {}),
    ],
)
def test_parameters_are_the_options_of_decoding(form, has_index, expected):
    assert parse_parameters(MultiDict(form), has_index) == DecodingOptions(**expected)


@pytest.mark.parametrize(
    'form, message',
    [
        ({'beam_width': '0'}, 'beam_width 0 is not an integer from 1 to 100'),
        ({'beam_width': '101'}, 'beam_width 101 is not an integer from 1 to 100'),
        ({'beam_width': '1e3'}, 'beam_width 1e3 is not an integer'),
        ({'beam_width': '9' * 5000}, 'is not an integer'),
        ({'top': '21'}, 'top 21 is not an integer from 1 to 20'),
        ({'top': '3', 'beam_width': '2'}, 'top 3 exceeds the beam width 2'),
        ({'search': 'best'}, "search 'best' is not one of beam, diverse, sample"),
        ({'mbr_neighbors': '5'}, 'mbr_neighbors cannot be used: this server has no index'),
        ({'mbr_samples': '5', 'search': 'sample'}, 'mbr_samples cannot be combined'),
        ({'beam': '3'}, 'beam is unknown; the parameters are search, beam_width, top, mbr_samples'),
    ],
)
def test_wrong_parameters_are_named(form, message):
    with pytest.raises(InputError) as raised:
        parse_parameters(MultiDict(form), has_index=False)
    assert message in str(raised.value)
