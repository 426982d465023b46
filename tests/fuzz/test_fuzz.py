"""Some cases of ``make fuzz``."""

import pytest

from tests.fuzz import cases

N_SHARES = 4
CASES_PER_SHARE = 50


@pytest.fixture(scope='module')
def original(tmp_path_factory):
    folder = tmp_path_factory.mktemp('original')
    cases.make_folder(folder)
    return folder


@pytest.mark.parametrize('share', range(N_SHARES))
def test_hostile_input_ends_in_success_or_one_line(original, tmp_path, share):
    numbers = range(CASES_PER_SHARE * share, CASES_PER_SHARE * (share + 1))
    results = [cases.run_case(number, 0, original, tmp_path / 'copy') for number in numbers]
    assert [complaint for _, complaint in results if complaint] == []
    assert {code for code, _ in results} == {0, 1, 2}
