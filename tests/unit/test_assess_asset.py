"""One asset: completeness, integrity, its own clocks, and what is said about single objects."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta

import pytest

from exitdrill.assess import assess
from exitdrill.model.objects import Outcome
from exitdrill.model.record import (
    DISAGREES,
    AssetRecord,
    Counts,
    LegRecord,
    LossCount,
    ManifestRoot,
    ManifestRoots,
    Mishap,
    VerificationRecord,
)
from exitdrill.model.verdict import Finding, Judgement, Severity, Verdict
from exitdrill.plan.drill import Asset, Level, Objectives
from exitdrill.testing.runs import SEVERED, make_asset, make_measured, make_plan, make_record

_NS = 1_000_000_000


def _judge(measured: AssetRecord, asset: Asset | None = None) -> Verdict:
    """The verdict on a drill of this asset alone."""
    plan = make_plan(asset or make_asset())
    return assess(plan, make_record(plan, measured))


def _judgement(verdict: Verdict, objective: str, subject: str = "case-files") -> Judgement:
    (found,) = [item for item in verdict.objectives if (item.objective, item.subject) == (objective, subject)]
    return found.judgement


def _finding(verdict: Verdict, part: str) -> Finding:
    (found,) = [finding for finding in verdict.findings if part in finding.text]
    return found


def _leg(leg: str, **objects: int) -> LegRecord:
    """A leg with so many objects of 4,096 bytes for each outcome's name."""
    return LegRecord(leg, {Outcome[name.upper()]: Counts(n, n * 4096) for name, n in objects.items()})


def _measured(changes: Mapping[str, object]) -> AssetRecord:
    return replace(make_measured(), **changes)  # type: ignore[arg-type]  # replace checks the names


def _checked(**changes: object) -> VerificationRecord:
    return replace(VerificationRecord("attested", equal=1000), **changes)  # type: ignore[arg-type]  # replace checks


def test_the_asset_s_own_rto_is_judged_and_the_drill_s_is_not_its() -> None:
    """Two hours were needed; one was asked for."""
    verdict = _judge(make_measured(), make_asset(objectives=Objectives(rto=timedelta(hours=1))))
    assert _judgement(verdict, "RTO") is Judgement.MISSED
    assert _judgement(verdict, "RTO", "drill") is Judgement.MET
    assert "missed by 1:00:00" in _finding(verdict, "RTO").text
    assert verdict.judgement is Judgement.MISSED


def test_an_asset_not_recovered_misses_its_rto_even_when_none_is_set() -> None:
    """Nothing that did not come up is fine."""
    assert _judgement(_judge(make_measured(recovered_elapsed_ns=None)), "RTO") is Judgement.MISSED


@pytest.mark.parametrize(
    ("look_min", "lost", "oldest_min", "rpa_seconds", "judgement"),
    [
        (5, 0, None, 300, Judgement.MET),
        (5, 3, 30, 1800, Judgement.MET),
        (5, 3, 241, 14_460, Judgement.MISSED),
        (5, 3, 1, 300, Judgement.MET),
        (241, 0, None, 14_460, Judgement.MISSED),
        (5, 3, None, None, Judgement.MISSED),
        (None, 0, None, None, Judgement.MISSED),
        (None, 1, 10, 600, Judgement.MET),
        (-5, 0, None, 0, Judgement.MET),
    ],
)
def test_the_recovery_point(
    look_min: int | None, lost: int, oldest_min: int | None, rpa_seconds: float | None, judgement: Judgement
) -> None:
    """The cut minus the last look or the oldest lost change, whichever is longer; unknown where it was not seen."""
    measured = make_measured(
        last_look_utc=None if look_min is None else SEVERED - timedelta(minutes=look_min),
        lost_changes=lost,
        oldest_lost_change_utc=None if oldest_min is None else SEVERED - timedelta(minutes=oldest_min),
    )
    verdict = _judge(measured)
    (result,) = [item for item in verdict.objectives if (item.objective, item.subject) == ("RPO", "case-files")]
    assert (result.actual_seconds, result.judgement) == (rpa_seconds, judgement)
    assert verdict.rpa_seconds == rpa_seconds


def test_an_asset_s_own_rpo_goes_before_the_drill_s() -> None:
    """Five minutes are within four hours, not within one minute."""
    verdict = _judge(make_measured(), make_asset(objectives=Objectives(rpo=timedelta(minutes=1))))
    assert _judgement(verdict, "RPO") is Judgement.MISSED
    assert _judgement(verdict, "RPO", "drill") is Judgement.MET


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"evacuate": _leg("evacuate", copied=999)}, "evacuate: 1,000 objects listed, 999 accounted for"),
        ({"rebuild": _leg("rebuild", copied=1001)}, "rebuild: 1,000 objects listed, 1,001 accounted for"),
        ({"rebuild": LegRecord("rebuild")}, "rebuild: 1,000 objects listed, 0 accounted for"),
        ({"evacuate": LegRecord("evacuate", {Outcome.COPIED: Counts(1000, 7)})}, "4,096,000 bytes listed, 7 copied"),
        ({"rebuild": _leg("rebuild", copied=990, not_evacuated=10)}, "10 objects said not to be evacuated"),
        (
            {"rebuild": _leg("rebuild", copied=999, corrupt=1), "exceptions_total": 0},
            "1 exception happened, 0 declared",
        ),
        ({"exceptions": (Mishap("k", "extra", "verify"),)}, "1 exception happened, 0 declared"),
    ],
)
def test_accounting_that_does_not_add_up_is_critical(changes: dict[str, object], text: str) -> None:
    """What is listed is copied or declared, on both legs; a breach weighs even for a non-critical asset."""
    verdict = _judge(_measured(changes))
    assert verdict.judgement is Judgement.MISSED
    assert _judgement(verdict, "completeness") is Judgement.MISSED
    assert _finding(verdict, text).severity is Severity.CRITICAL
    plan = make_plan(make_asset("main"), make_asset(critical=False))
    light = assess(plan, make_record(plan, make_measured("main"), _measured(changes)))
    assert light.judgement is Judgement.MISSED


def test_an_asset_without_a_record_is_missed_in_everything() -> None:
    """Silence is not success."""
    plan = make_plan(make_asset("forgotten"))
    verdict = assess(plan, make_record(plan, make_measured("other")))
    judged = {item.objective: item.judgement for item in verdict.objectives if item.subject == "forgotten"}
    assert set(judged.values()) == {Judgement.MISSED}
    assert _finding(verdict, "in the record, but not in the plan").subject == "other"


@pytest.mark.parametrize(
    ("name", "leg", "text", "remedy"),
    [
        ("changed", "evacuate", "changed at the source", "quiet window"),
        ("missing", "evacuate", "deleted at the source", "deletes"),
        ("corrupt", "rebuild", "corrupt in the vault", "disk"),
        ("lost", "rebuild", "gone from the vault", "evacuate these objects again"),
        ("unrepresentable", "rebuild", "cannot hold the key", "`rename: percent`"),
        ("archived", "evacuate", "archive tier", "rehydrate"),
        ("refused", "rebuild", "refused", "permissions"),
    ],
)
def test_each_outcome_but_copied_is_a_finding_with_its_key_and_what_to_do(
    name: str, leg: str, text: str, remedy: str
) -> None:
    """Completeness is missed by a single object."""
    legs = {leg: _leg(leg, copied=999, **{name: 1})}
    if leg == "evacuate":
        legs["rebuild"] = _leg("rebuild", copied=999, not_evacuated=1)
    named: tuple[Mishap, ...] = (Mishap("a//b", Outcome[name.upper()], leg, "said so"),)
    if leg == "evacuate":
        named += (Mishap("a//b", Outcome.NOT_EVACUATED, "rebuild"),)
    verdict = _judge(_measured({**legs, "exceptions": named, "exceptions_total": len(named)}))
    (found,) = verdict.findings
    assert text in found.text
    assert found.text.startswith("1 object ")
    assert remedy in found.remedy
    assert found.keys == ("a//b",)
    assert found.severity is Severity.CRITICAL
    assert _judgement(verdict, "completeness") is Judgement.MISSED


def test_a_renamed_asset_is_not_told_to_rename() -> None:
    """What was tried already is no advice."""
    measured = make_measured(rebuild=_leg("rebuild", copied=999, unrepresentable=1), exceptions_total=1)
    verdict = _judge(measured, make_asset(rename="percent"))
    assert "even under `rename: percent`" in _finding(verdict, "cannot hold").remedy


@pytest.mark.parametrize(
    ("problem", "changes", "objective"),
    [
        ("different", {"different": 1, "equal": 999}, "integrity"),
        ("different", {"different": 1, "equal": 999}, "completeness"),
        ("missing", {"missing": 1, "equal": 999}, "completeness"),
        ("unattested", {"unattested": 1, "equal": 999}, "integrity"),
    ],
)
def test_what_verification_found_is_missed(problem: str, changes: dict[str, int], objective: str) -> None:
    """One object is enough, and it is named."""
    named = (Mishap("k", problem, "verify"),)
    verdict = _judge(make_measured(verification=_checked(**changes), exceptions=named, exceptions_total=1))
    assert _judgement(verdict, objective) is Judgement.MISSED
    assert verdict.judgement is Judgement.MISSED
    assert [finding.keys for finding in verdict.findings] == [("k",)]


def test_extra_objects_at_the_target_are_a_warning_only() -> None:
    """Nothing of ours is lost by them."""
    verdict = _judge(make_measured(verification=_checked(extra=3)))
    assert verdict.judgement is Judgement.MET
    (found,) = verdict.findings
    assert found.severity is Severity.WARNING
    assert found.text.endswith("none of them is named in the record")


def test_lost_changes_are_a_warning_as_long_as_the_rpo_is_met() -> None:
    """The RPO judges them; the finding names them."""
    measured = make_measured(
        lost_changes=1,
        oldest_lost_change_utc=SEVERED - timedelta(minutes=6),
        exceptions=(Mishap("k", Outcome.CHANGED, "last look"),),
        exceptions_total=1,
    )
    verdict = _judge(measured)
    assert verdict.judgement is Judgement.MET
    (found,) = verdict.findings
    assert (found.severity, found.keys) == (Severity.WARNING, ("k",))
    assert "last look before the cut" in found.text


def test_a_declared_exception_is_a_loss_even_where_the_counters_say_otherwise() -> None:
    """The worse of two contradicting statements counts, unknown problems included."""
    named = (Mishap("k", "eaten by a dog", "rebuild"),)
    verdict = _judge(make_measured(exceptions=named, exceptions_total=1))
    assert _judgement(verdict, "completeness") is Judgement.MISSED
    assert _finding(verdict, "eaten by a dog").severity is Severity.CRITICAL


def test_only_ten_keys_are_named_and_the_rest_counted() -> None:
    """In order of key, whatever the order in which they were found."""
    named = tuple(Mishap(f"k{n:02}", Outcome.CORRUPT, "rebuild") for n in reversed(range(12)))
    measured = make_measured(rebuild=_leg("rebuild", copied=980, corrupt=20), exceptions=named, exceptions_total=20)
    found = _finding(_judge(measured), "corrupt")
    assert found.keys == tuple(f"k{n:02}" for n in range(10))
    assert found.text.startswith("20 objects ")
    assert found.text.endswith("; 10 of them named here")


@pytest.mark.parametrize(
    ("level", "done", "sample", "judgement"),
    [
        (Level.LISTED, {"level": "listed", "unattested": 1000, "equal": 0}, 300, Judgement.MET),
        (Level.LISTED, {"level": "full"}, 300, Judgement.MET),
        (Level.ATTESTED, {"level": "listed"}, 300, Judgement.MISSED),
        (Level.ATTESTED, {"level": "by eye"}, 300, Judgement.MISSED),
        (Level.SAMPLED, {"level": "sampled", "reread_objects": 300}, 300, Judgement.MET),
        (Level.SAMPLED, {"level": "sampled", "reread_objects": 299}, 300, Judgement.MISSED),
        (Level.SAMPLED, {"level": "sampled", "reread_objects": 1000}, 5000, Judgement.MET),
        (Level.FULL, {"level": "full", "reread_objects": 1000}, 300, Judgement.MET),
        (Level.FULL, {"level": "full", "reread_objects": 999}, 300, Judgement.MISSED),
    ],
)
def test_the_level_asked_for_is_reached_or_integrity_is_missed(
    level: Level, done: dict[str, object], sample: int, judgement: Judgement
) -> None:
    """A stronger level will do; re-reading less than the level takes will not."""
    verdict = _judge(make_measured(verification=_checked(**done)), make_asset(verify=level, sample=sample))
    assert _judgement(verdict, "integrity") is judgement
    assert verdict.judgement is judgement


def test_unattested_objects_are_a_note_where_listing_is_enough() -> None:
    """Asked for no more, but told."""
    checked = _checked(level="listed", unattested=5, equal=995)
    found = _finding(_judge(make_measured(verification=checked), make_asset(verify=Level.LISTED)), "without a digest")
    assert found.severity is Severity.NOTE


def test_verification_that_did_not_look_at_everything_proves_nothing() -> None:
    """999 of 1,000 equal and none missing is a gap."""
    verdict = _judge(make_measured(verification=_checked(equal=999)))
    assert _judgement(verdict, "completeness") is Judgement.MISSED
    assert _finding(verdict, "accounted for 999 of 1,000 rebuilt objects").severity is Severity.CRITICAL


def test_a_non_critical_asset_that_loses_everything_is_a_warning() -> None:
    """Shown as missed, weighing nothing."""
    plan = make_plan(make_asset("main"), make_asset(critical=False))
    lost = make_measured(
        rebuild=_leg("rebuild", refused=1000),
        exceptions_total=1000,
        verification=None,
        recovered_elapsed_ns=None,
        error="denied",
    )
    verdict = assess(plan, make_record(plan, make_measured("main"), lost))
    assert verdict.judgement is Judgement.MET
    assert _judgement(verdict, "completeness") is Judgement.MISSED
    assert {finding.severity for finding in verdict.findings} == {Severity.WARNING}
    assert len(verdict.findings) == 4


def test_an_asset_named_drill_cannot_hide_the_drill_s_own_objectives() -> None:
    """A non-critical asset of that name would otherwise make the drill's RTO weigh nothing."""
    plan = make_plan(make_asset("drill", critical=False))
    verdict = assess(plan, make_record(plan, recovered_elapsed_ns=None))
    assert verdict.judgement is Judgement.MISSED


def test_metadata_losses_and_notable_retries_are_said() -> None:
    """Warnings with an example, notes with numbers; a few retries are no news."""
    measured = make_measured(
        losses=(LossCount("tags", "no tags there", 12, "a/b"), LossCount("tier", "none", 1, "c")),
        evacuate=replace(make_measured().evacuate, throttled=3, waited_ns=90 * _NS),
        rebuild=replace(make_measured().rebuild, retries=9),
    )
    verdict = _judge(measured)
    assert verdict.judgement is Judgement.MET
    assert [(finding.severity, finding.keys) for finding in verdict.findings] == [
        (Severity.WARNING, ("a/b",)),
        (Severity.WARNING, ("c",)),
        (Severity.NOTE, ()),
    ]
    assert "0:01:30 waited" in verdict.findings[2].text
    many = replace(measured, rebuild=replace(measured.rebuild, retries=10))
    assert len(_judge(many).findings) == 4


def test_what_the_drill_s_own_limits_cost_is_said_apart() -> None:
    """A note of its own: a real exit would not wait for it."""
    verdict = _judge(make_measured(rebuild=replace(make_measured().rebuild, limited_ns=90 * _NS)))
    (finding,) = verdict.findings
    assert (verdict.judgement, finding.severity) == (Judgement.MET, Severity.NOTE)
    assert finding.text == "rebuild: 0:01:30 waited over all threads for the drill's own limits"


def test_a_digest_of_the_source_that_disagrees_is_a_warning_and_weighs_nothing() -> None:
    """What the source says of its own bytes may be wrong: counted, named, and not held against the drill."""
    named = (Mishap("a.txt", DISAGREES, "evacuate", "fetched again: the same bytes"),)
    digests = {"equal": 997, "different": 2, "absent": 1}
    verdict = _judge(_measured({"exceptions": named, "exceptions_total": 2, "source_digests": digests}))
    found = _finding(verdict, "disagree")
    assert verdict.judgement is Judgement.MET
    assert (found.severity, found.keys) == (Severity.WARNING, ("a.txt",))
    assert found.text.startswith("2 objects copied whose bytes disagree")


def test_a_digest_that_disagrees_and_was_not_declared_breaks_the_accounting() -> None:
    """Two disagreed; the record declares none."""
    verdict = _judge(_measured({"source_digests": {"equal": 998, "different": 2}}))
    assert _judgement(verdict, "completeness") is Judgement.MISSED
    assert "2 exceptions happened, 0 declared" in _finding(verdict, "add up").text


_ROOT, _OTHER = ManifestRoot("aa" * 32, 1000), ManifestRoot("bb" * 32, 1000)
_NONE = ManifestRoot(why_not="verified at level listed")
_TAGS, _CREATED = (LossCount(field, "not kept here", 5, "k") for field in ("tags", "created"))


@pytest.mark.parametrize(
    ("roots", "changes"),
    [
        (ManifestRoots(_ROOT, _ROOT, _ROOT), {}),
        (ManifestRoots(_ROOT, _ROOT, _ROOT), {"losses": (_CREATED,)}),
        (ManifestRoots(_ROOT, _ROOT, _OTHER), {"losses": (_TAGS,)}),
        (ManifestRoots(_ROOT, _ROOT, _NONE), {}),
        (
            ManifestRoots(_ROOT, replace(_OTHER, objects=997), replace(_OTHER, objects=997)),
            {"evacuate": _leg("evacuate", copied=997, changed=3), "verification": _checked(equal=997)},
        ),
        (
            ManifestRoots(_ROOT, replace(_OTHER, objects=998), replace(_OTHER, objects=998)),
            {"rebuild": _leg("rebuild", copied=998, corrupt=1, lost=1), "verification": _checked(equal=998)},
        ),
        (
            ManifestRoots(_ROOT, _ROOT, replace(_OTHER, objects=999)),
            {"verification": _checked(equal=999, different=1)},
        ),
    ],
)
def test_roots_that_fit_what_was_counted_add_nothing(roots: ManifestRoots, changes: dict[str, object]) -> None:
    """The same where nothing was lost, different where something was; none where there can be none."""
    before, after = (_judge(_measured(changes | more)) for more in ({}, {"roots": roots}))
    assert after.findings == before.findings
    assert after.judgement is before.judgement


def test_roots_that_were_not_computed_are_a_warning() -> None:
    """A source that was listed to its end has a root, or the seal step could not compute it: judged all the same."""
    before, after = (_judge(_measured(c)) for c in ({}, {"roots": ManifestRoots(_NONE, _NONE, _NONE)}))
    found = _finding(after, "no manifest roots")
    assert found.severity is Severity.WARNING
    assert "verified at level listed" in found.text
    assert after.judgement is before.judgement


@pytest.mark.parametrize(
    ("roots", "changes", "text"),
    [
        (ManifestRoots(_ROOT, _ROOT, _OTHER), {}, "every object was found equal, and yet the manifest roots of vault"),
        (ManifestRoots(_OTHER, _ROOT, _ROOT), {}, "every object was evacuated, and yet the manifest roots of source"),
        (ManifestRoots(_ROOT, _ROOT, _OTHER), {"losses": (_CREATED,)}, "manifest roots of vault and target differ"),
        (ManifestRoots(_ROOT, _ROOT, _ROOT), {"losses": (_TAGS,)}, "5 pieces of metadata lost, and yet"),
        (ManifestRoots(_ROOT, _ROOT, replace(_ROOT, objects=999)), {}, "target's manifest has 999 objects, 1,000"),
        (
            ManifestRoots(_ROOT, _ROOT, _ROOT),
            {"verification": _checked(equal=999, missing=1)},
            "target's manifest has 1,000 objects, 999 counted",
        ),
    ],
)
def test_roots_that_contradict_what_was_counted_are_critical(
    roots: ManifestRoots, changes: dict[str, object], text: str
) -> None:
    """Two ways to the same facts: where they differ, neither can be relied on."""
    verdict = _judge(_measured(changes | {"roots": roots}))
    found = _finding(verdict, text)
    assert found.severity is Severity.CRITICAL
    assert "does not add up" in found.text
    assert _judgement(verdict, "completeness") is Judgement.MISSED
