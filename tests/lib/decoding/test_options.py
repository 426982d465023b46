import pytest

from lib.decoding.options import DecodingOptions
from lib.errors import InputError

RANKED = {'beam_width': 50, 'mbr_neighbors': 100}
PLAIN = {'beam_width': 20, 'mbr_neighbors': 0}


@pytest.mark.parametrize(
    'options, at_fault',
    [
        ({'search': 'greedy'}, 'search'),
        ({'search': 3}, 'search'),
        ({'search': 'sample', 'mbr_samples': 10}, 'mbr_samples'),
        ({'search': 'sample', 'mbr_neighbors': 10}, 'mbr_neighbors'),
        ({'search': 'diverse', 'beam_width': 10, 'beam_groups': 3}, 'beam_groups'),
        ({'top': 21}, 'top'),
        ({'beam_width': 3, 'top': 4}, 'top'),
        ({'min_length': 61}, 'min_length'),
        ({'min_length': 5, 'max_length': 4}, 'min_length'),
        ({'beam_width': 0, 'top': 0}, 'beam_width'),
        ({'beam_width': '3'}, 'beam_width'),
        ({'top': 0}, 'top'),
        ({'top': True}, 'top'),
        ({'max_length': 0}, 'max_length'),
        ({'max_length': 1.5}, 'max_length'),
        ({'max_length': 10_001}, 'max_length'),
        ({'beam_groups': 0}, 'beam_groups'),
        ({'temperature': 0}, 'temperature'),
        ({'temperature': float('nan')}, 'temperature'),
        ({'temperature': float('inf')}, 'temperature'),
        ({'length_normalization': float('nan')}, 'length_normalization'),
        ({'diversity_penalty': -0.5}, 'diversity_penalty'),
        ({'forbid_unknown': 'no'}, 'forbid_unknown'),
    ],
)
def test_invalid_options_are_rejected(options, at_fault):
    for make in DecodingOptions, DecodingOptions.with_defaults:
        with pytest.raises(InputError) as info:
            make(**options)
        assert info.value.option == at_fault


@pytest.mark.parametrize(
    'has_index, given, expected',
    [
        (False, {}, PLAIN | {'top': 5, 'beam_groups': 5}),
        (True, {}, RANKED | {'top': 5, 'beam_groups': 5}),
        (True, {'mbr_neighbors': 0}, PLAIN),
        (True, {'mbr_neighbors': 7}, RANKED | {'mbr_neighbors': 7}),
        (True, {'beam_width': 3}, RANKED | {'beam_width': 3, 'top': 3}),
        (True, {'search': 'diverse'}, RANKED),
        (True, {'search': 'sample'}, PLAIN),
        (True, {'mbr_samples': 300}, RANKED),
        (False, {'mbr_neighbors': 7}, PLAIN | {'mbr_neighbors': 7}),
        (False, {'beam_width': 3}, {'top': 3}),
        (False, {'beam_width': 3, 'search': 'sample'}, {'top': 5}),
        (False, {'beam_width': 8, 'search': 'diverse'}, {'beam_groups': 4}),
        (False, {'beam_width': 7, 'search': 'diverse'}, {'beam_groups': 7}),
        (False, {'beam_width': 1, 'search': 'diverse'}, {'beam_groups': 1}),
        (False, {'beam_width': 7, 'top': 2}, {'top': 2}),
        (False, {'beam_width': None, 'top': None}, {'beam_width': 20, 'top': 5}),
    ],
)
def test_defaults_depend_on_each_other_and_on_the_index(has_index, given, expected):
    options = DecodingOptions.with_defaults(has_index, **given)
    assert {name: getattr(options, name) for name in expected} == expected
