"""What a sample says of all objects, against the definition, and against simulation."""

import math
import random
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exitdrill.errors import EvidenceError
from exitdrill.evidence.sampling import Reread, fresh_seed, most_different, says


def _exactly(most: int, population: int, marked: int, drawn: int) -> Fraction:
    """P(X <= most), by counting."""
    ways = sum(math.comb(marked, hits) * math.comb(population - marked, drawn - hits) for hits in range(most + 1))
    return Fraction(ways, math.comb(population, drawn))


@given(st.integers(1, 60), st.data())
def test_it_is_the_largest_number_that_fits(population: int, data: st.DataObject) -> None:
    """By the definition, in whole numbers: D fits, D + 1 does not."""
    drawn = data.draw(st.integers(1, population))
    different = data.draw(st.integers(0, min(drawn, 4)))
    found = most_different(population, drawn, different)
    assert different <= found <= population - (drawn - different)
    limit = Fraction(1, 20)
    assert _exactly(different, population, found, drawn) >= limit * Fraction(999_999, 1_000_000)
    if found < population - (drawn - different):
        assert _exactly(different, population, found + 1, drawn) < limit * Fraction(1_000_001, 1_000_000)


def test_known_numbers() -> None:
    """The rule of three for a large population; nothing left to doubt where all were read."""
    assert most_different(1_000_000_000, 300, 0) / 1_000_000_000 == pytest.approx(1 - 0.05 ** (1 / 300), rel=1e-4)
    assert most_different(1_000_000, 300, 0) < 10_000
    assert most_different(300, 300, 0) == 0
    assert most_different(300, 300, 7) == 7
    for numbers in ((10, 11, 0), (10, 5, 6), (10, 5, -1)):
        with pytest.raises(EvidenceError):
            most_different(*numbers)


def test_it_covers_as_often_as_it_says() -> None:
    """Of 2,000 made-up populations, the true number is above the bound in about one of twenty at most."""
    chance = random.Random(7)
    above = 0
    for _ in range(2000):
        population = chance.randrange(50, 400)
        marked = chance.randrange(population // 3)
        drawn = chance.randrange(10, 50)
        hits = sum(n < marked for n in chance.sample(range(population), drawn))
        above += marked > most_different(population, drawn, hits)
    assert above / 2000 < 0.06


def test_in_words() -> None:
    """Rounded up, so that it never says less than it is; what was not read is said."""
    assert says(Reread(1_000_000, 300, 300, ())) == (
        "0 of 300 objects differ: at 95 % confidence at most 9,934 of 1,000,000 do (1.00 %)"
    )
    assert says(Reread(10, 10, 10, ())) == "0 of 10 objects differ: all there are"
    assert "(300 were drawn, the time was up)" in says(Reread(1000, 300, 20, (("k", "w"),)))
    assert says(Reread(0, 0, 0, ())) == "0 of 0 objects differ: nothing is shown"


def test_a_fresh_seed() -> None:
    """Depends on both; neither alone says what it is."""
    assert len({fresh_seed(b"a", b"b"), fresh_seed(b"b", b"a"), fresh_seed(b"a", b"c")}) == 3
