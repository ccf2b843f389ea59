"""The comparison of HTTP clients: each reads every object, and what is reported is what they did."""

from collections.abc import Mapping

import pytest

from bench.clients import WAYS, Cost, Way, opened, render, run_once
from bench.corpus import Stored
from bench.places import Places


@pytest.mark.parametrize("client", sorted({way.client for way in WAYS}))
def test_a_client_reads_every_object(fast: Places, stored: Mapping[str, Stored], client: str) -> None:
    """Nothing is left out: a size that is not so, anywhere in the work, comes out as an error."""
    tiny = stored["tiny"]
    work = [(tiny.corpus.key(n), tiny.etag(n), tiny.size(n)) for n in range(40)]
    with opened(client, fast.azure, "tiny", 4) as run:
        run(work)
        for wrong in (0, 17, 39):
            key, etag, size = work[wrong]
            with pytest.raises(Exception, match=f"{size} bytes, not {size + 1}"):
                run([*work[:wrong], (key, etag, size + 1), *work[wrong + 1 :]])


def test_processes_are_weighed_at_work(fast: Places, stored: Mapping[str, Stored]) -> None:
    """Two processes share the objects; wall and CPU are theirs, without their start."""
    wall, cpu = run_once(Way("lean HTTP", 2, 2), fast.azure, stored["tiny"])
    assert 0 < cpu <= 2.5 * wall
    assert wall < 30


def test_the_table() -> None:
    """A line a client, with whole numbers."""
    text = render([Cost(Way("lean HTTP", 2, 16), 21_234.5, 59.6)])
    cells = [cell.strip() for cell in text.splitlines()[-1].split("|")]
    assert cells == ["", "lean HTTP", "2", "16", "21,234", "60", ""]
