"""Clauses of laws and standards: they name fields that exist, and are never passed in silence."""

import types
from dataclasses import fields, is_dataclass, replace
from typing import Any, get_args, get_origin, get_type_hints

import pytest
from pydantic import ValidationError

from exitdrill.assess import assess
from exitdrill.model.record import RunRecord, RunStatus
from exitdrill.model.verdict import Verdict
from exitdrill.plan.drill import DrillPlan
from exitdrill.report import Options, language, render
from exitdrill.report._clauses import Coverage, Source, Status, evaluate, sources
from exitdrill.testing.runs import make_asset, make_measured, make_plan, make_record
from reporting import busy_run, rehearsed

_ROOTS: dict[str, type] = {"plan": DrillPlan, "record": RunRecord, "verdict": Verdict}
_FIELDS = sorted(
    {(s.source.en, path.removesuffix("?")) for s in sources() for c in s.clause for path in (*c.needs, *c.shows)}
)


_SMALL: dict[str, Any] = {
    "source": {"en": "x", "nl": "x"},
    "as_of": "2026-01-01",
    "clause": [{"article": {"en": "1", "nl": "1"}, "about": {"en": "a", "nl": "b"}, "needs": [], "shows": []}],
}


def _inner(kind: Any) -> Any:
    """What is inside of optionals and tuples."""
    if get_origin(kind) is types.UnionType or str(get_origin(kind)) == "typing.Union":
        (kind,) = (one for one in get_args(kind) if one is not type(None))
    if get_origin(kind) is tuple:
        return _inner(get_args(kind)[0])
    return kind


@pytest.mark.parametrize(("source", "path"), _FIELDS)
def test_every_field_that_is_named_exists(source: str, path: str) -> None:
    """By the types of plan, record and verdict, or as their property; not only in a run that happens to have it."""
    root, *names = path.split(".")
    kind: Any = _ROOTS[root]
    for name in names:
        kind = _inner(kind)
        assert is_dataclass(kind), path
        if name in {one.name for one in fields(kind)}:
            kind = get_type_hints(kind)[name]
        else:
            assert isinstance(getattr(kind, name), property), path
            kind = get_type_hints(getattr(kind, name).fget)["return"]
    assert kind is not None


def test_there_is_a_file_for_each_source_that_the_design_names() -> None:
    """Each with its date and at least one clause; no file lies about unread."""
    known = " ".join(one.source.en for one in sources())
    for word in (
        "2022/2554",
        "2024/1773",
        "2024/1774",
        "2022/2555",
        "2024/2690",
        "2023/2854",
        "27001",
        "22301",
        "BIO2",
    ):
        assert word in known
    assert len({one.source.en for one in sources()}) == len(sources()) == 9
    assert all(one.clause for one in sources())


def test_a_clause_with_a_field_too_many_is_refused() -> None:
    """A misspelt name is no silent pass."""
    assert Source.model_validate(_SMALL).clause[0].needs == ()
    with pytest.raises(ValidationError):
        Source.model_validate({**_SMALL, "clause": [{**_SMALL["clause"][0], "need": []}]})


def _one(run: tuple[DrillPlan, RunRecord], source: str, about: str) -> Coverage:
    plan, record = run
    found = [
        one
        for one in evaluate(plan, record, assess(plan, record))
        if source in one.source.source.en and about in one.clause.about.en
    ]
    assert len(found) == 1
    return found[0]


def test_a_clause_is_exercised_only_when_each_asset_has_the_fact() -> None:
    """One asset without it, and the clause is not."""
    assets = make_asset("a", objectives=make_plan().objectives), make_asset("b", objectives=make_plan().objectives)
    plan = make_plan(*assets)
    whole = make_record(plan)
    assert _one((plan, whole), "2024/2690", "complete").status is Status.EXERCISED
    half = make_record(plan, make_measured("a"), make_measured("b", verification=None))
    one = _one((plan, half), "2024/2690", "complete")
    assert one.status is Status.NOT
    assert set(one.missing) == {"record.assets.verification.level", "record.assets.verification.equal"}


def test_what_no_run_records_is_said() -> None:
    """Such a clause is exercised in part at best; one that has nothing else is not exercised."""
    plan = make_plan()
    run = plan, make_record(plan)
    assert _one(run, "2022/2554", "documented, tested").status is Status.IN_PART
    assert _one(run, "2023/2854", "erasure").status is Status.NOT
    assert _one(run, "2023/2854", "charges").status is Status.NOT
    out = render("markdown", *run, assess(*run))
    assert "not recorded by exitdrill: the cost of egress" in out


def test_approvals_count_when_there_is_one() -> None:
    """Most steps have none, and need none."""
    plan = make_plan()
    record = make_record(plan)
    assert _one((plan, record), "2024/2690", "approvals").status is Status.NOT
    approved = replace(record, steps=(replace(record.steps[0], approved_by="A. Jansen"), *record.steps[1:]))
    assert _one((plan, approved), "2024/2690", "approvals").status is Status.EXERCISED


def test_a_cut_that_did_not_hold_exercises_nothing_that_rests_on_it() -> None:
    """False is nothing."""
    plan = make_plan()
    record = make_record(plan)
    assert record.severance is not None
    assert _one((plan, record), "2022/2554", "apart from").status is Status.EXERCISED
    broken = replace(record, severance=replace(record.severance, holds=False))
    assert _one((plan, broken), "2022/2554", "apart from").status is Status.NOT


def test_a_run_that_failed_exercises_nothing() -> None:
    """And says so in each line."""
    plan = make_plan()
    record = make_record(plan, status=RunStatus.FAILED)
    assert {one.status for one in evaluate(plan, record, assess(plan, record))} == {Status.NOT}
    assert render("text", plan, record, assess(plan, record)).count("the run failed") >= 20


@pytest.mark.parametrize("code", ["en", "nl"])
def test_a_rehearsal_is_marked_in_every_clause(code: str) -> None:
    """In each language."""
    plan = rehearsed(make_plan())
    record = make_record(plan)
    out = render("markdown", plan, record, assess(plan, record), Options(language(code)))
    rows = [line for line in out.split("\n") if line.startswith("| ") and ("exercised" in line or "beoefend" in line)]
    assert len(rows) == sum(len(one.clause) for one in sources())
    word = {"en": "rehearsal", "nl": "repetitie"}[code]
    for row in rows:
        assert word in row or "not exercised" in row or "niet beoefend" in row


def test_facts_are_shown_with_their_units() -> None:
    """A duration as one, a moment as one, long lists cut."""
    out = render("markdown", *busy_run(5), assess(*busy_run(5)))
    assert "verdict.rta\\_seconds: 2:00:00" in out
    assert "plan.assets.name: asset-00, asset-01, asset-02 and 2 more" in out
