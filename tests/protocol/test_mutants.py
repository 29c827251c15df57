"""The list of mutants is fit to be run: `make mutants` runs it."""

import mutants
import pytest

MUTANTS = mutants.read()


def test_there_are_many_and_each_has_a_name():
    assert len(MUTANTS) >= 60
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS)


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_mutants_text_stands_where_the_list_says(mutant):
    assert mutants.misfit(mutant) is None


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_whatever_shall_catch_a_mutant_exists(mutant):
    for program, case, variant in map(mutants.target, mutant.caught_by.split(", ")):
        source = (mutants.HERE / f"{program}.c").read_text()
        assert f"RUN({case});" in source if case else source
        assert variant in {"plain", "tsan"}
