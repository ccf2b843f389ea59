"""Objects: blobs of a container → the vault → objects of a bucket."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from datetime import datetime
from typing import Any, ClassVar

from exitdrill.assets.costs import LegCost
from exitdrill.assets.grouping import Weight, groups_of
from exitdrill.assets.interface import AssetContext, AssetKind, Forecast, Removed
from exitdrill.assets.overlap import EARLY, ENDED, EVACUATE, REBUILD, BothLegs, Group, turns_of, went_through
from exitdrill.assets.preflight import describe_survey, object_checks, probed_capabilities
from exitdrill.assets.survey import survey
from exitdrill.clock import Clock, Stopwatch, parse_utc
from exitdrill.connector.objects import ObjectStore
from exitdrill.errors import ArchivedError, ChangedError, NotFoundError
from exitdrill.model import human
from exitdrill.model.digests import DigestKind
from exitdrill.model.record import AssetRecord, Check, Counts, LegRecord, Mishap, VerificationRecord
from exitdrill.plan.drill import Level
from exitdrill.transfer.client import cores
from exitdrill.transfer.inventory import STEM, inventory_counts, inventory_report, inventory_rows, is_complete
from exitdrill.transfer.job import CUT_EARLY, Job, Result
from exitdrill.transfer.places import container_of, prefix_of, vault_container
from exitdrill.transfer.rows import InventoryRow, part_numbers, part_path, summary
from exitdrill.transfer.tally import MISHAPS_KEPT, leg_facts

__all__ = ["ObjectsKind"]

_GROUPS_A_WORKER, _GROUPS_ON_MANY = 4, 400
_PROBED_OBJECTS = 24
_PROBED_BYTES = 16_000_000


class ObjectsKind(AssetKind):
    """Objects, byte-exact under byte-exact keys."""

    name: ClassVar[str] = "objects"

    def preflight(self, ctx: AssetContext) -> list[Check]:
        """Source readable, vault and target writable, what they can do by trying, level reachable."""
        return object_checks(ctx)

    def inventory(self, ctx: AssetContext) -> list[Check]:
        """List the source into parts, then check keys, sizes, tiers and room."""
        ctx.run_jobs([(f"inventory {ctx.asset.name}", ctx.job("inventory"))])
        folder = ctx.directory.inventory(ctx.asset.name)
        seen = survey(
            lambda: inventory_rows(folder),
            probed_capabilities(ctx, "target"),
            prefix_of(ctx.asset.source),
            prefix_of(ctx.asset.target),
            ctx.asset.rename,
            ctx.directory.scratch("sort"),
        )
        with ctx.places.open("vault") as vault:
            free = vault.space().free_bytes
        return [*_source_checks(ctx), *describe_survey(ctx.asset, seen, free)]

    def evacuate(self, ctx: AssetContext) -> None:
        """Copy every part to the vault."""
        self._legs(ctx, EVACUATE, part_numbers(ctx.directory.inventory(ctx.asset.name), STEM), **self._vault(ctx))

    def overlap(self, ctx: AssetContext, rebuild: AssetContext) -> None:
        """Copy every part to the vault, and parts that are there to the target, cut off from the source."""
        options: Mapping[str, Mapping[str, Any]] = {EVACUATE: self._vault(ctx), REBUILD: {CUT_EARLY: True}}
        contexts = {EVACUATE: ctx, REBUILD: rebuild}

        def job(leg: str, group: Group) -> tuple[str, Job]:
            return _job(contexts[leg], leg, group, **options[leg])

        def all_evacuated() -> bool:
            return all(went_through(ctx.directory, asset.name, EVACUATE) for asset in ctx.plan.assets)

        # What an asset depends on is up before it: also here.
        rebuilding = all(went_through(ctx.directory, name, REBUILD) for name in ctx.asset.depends_on)
        numbers = part_numbers(ctx.directory.inventory(ctx.asset.name), STEM)
        groups = turns_of({number: _weight(ctx, EVACUATE, number) for number in numbers}, ctx.width)
        BothLegs(contexts, job, all_evacuated).run(groups, rebuilding=rebuilding)

    def _vault(self, ctx: AssetContext) -> Mapping[str, Any]:
        """What the evacuation needs to be told; the vault's container is noted before it is filled."""
        container = vault_container(ctx.directory.id, ctx.plan, ctx.asset)
        ctx.journal.record("container wanted", place=ctx.plan.vault.name, container=container, asset=ctx.asset.name)
        ctx.facts.put("vault container", container)
        digests = sorted(probed_capabilities(ctx, "target").attests & {DigestKind.MD5})
        return {"digests": list(digests)}

    def last_look(self, ctx: AssetContext) -> None:
        """List the source once more and compare."""
        (result,) = ctx.run_jobs([(f"last look {ctx.asset.name}", ctx.job("last look"))])
        ctx.facts.put("last look", dict(result.facts))

    def rebuild(self, ctx: AssetContext) -> None:
        """Copy every part to the target."""
        early = _mapping(ctx.facts.get(EARLY)).get("parts", ())
        parts = sorted({*part_numbers(ctx.directory.ledger(ctx.asset.name), EVACUATE)}.difference(early))
        self._legs(ctx, REBUILD, parts)

    def verify(self, ctx: AssetContext) -> bool:
        """Compare the ledger with the target at the level asked for."""
        if ctx.asset.verify is Level.FULL:
            self._legs(ctx, "read back", part_numbers(ctx.directory.ledger(ctx.asset.name), "rebuild"))
        job = ctx.job("verify", seed=ctx.facts.get("seed"))
        (result,) = ctx.run_jobs([(f"verify {ctx.asset.name}", job)])
        ctx.facts.put("verify", dict(result.facts))
        record = self.record(ctx)
        found = record.verification
        listed = record.listed.objects
        complete = is_complete(ctx.directory.inventory(ctx.asset.name))
        return complete and found is not None and found.equal == listed and not (found.different or found.missing)

    def teardown(self, ctx: AssetContext) -> Removed:
        """Clean target and vault of what this run made."""
        jobs: list[tuple[str, Job]] = []
        if ctx.facts.get("target touched") or ctx.facts.get("target made"):
            made = bool(ctx.facts.get("target made"))
            jobs.append((f"clean target {ctx.asset.name}", ctx.job("clean target", made=made)))
        if ctx.facts.get("vault container"):
            jobs.append((f"clean vault {ctx.asset.name}", ctx.job("clean vault")))
        results = ctx.run_jobs(jobs)
        containers = tuple(str(r.facts["container"]) for r in results if r.facts["removed_container"])
        left = tuple(str(item) for r in results for item in _left(r.facts))
        return Removed(sum(int(r.facts["deleted"]) for r in results), containers, left)

    def record(self, ctx: AssetContext) -> AssetRecord:
        """From the footers of the parts and the facts kept."""
        ledger = ctx.directory.ledger(ctx.asset.name)
        evacuate, mishaps, total, _, digests = leg_facts(ledger, "evacuate")
        rebuild, more, more_total, losses, _ = leg_facts(ledger, "rebuild")
        look: Mapping[str, Any] = _mapping(ctx.facts.get("last look"))
        verification = _mapping(ctx.facts.get("verify"))
        found = [Mishap(**m) for m in [*look.get("mishaps", ()), *verification.get("mishaps", ())]]
        kept = [*mishaps, *more, *found]
        all_total = total + more_total + int(look.get("lost", 0)) + int(verification.get("mishaps_total", 0))
        recovered, early = ctx.facts.get("recovered_elapsed_ns"), _mapping(ctx.facts.get(EARLY))
        return AssetRecord(
            ctx.asset.name,
            self.name,
            listed=inventory_counts(ctx.directory.inventory(ctx.asset.name)),
            evacuate=self._with_cost(ctx, evacuate),
            rebuild=self._with_cost(ctx, rebuild),
            verification=VerificationRecord(**verification["verification"]) if verification else None,
            exceptions=tuple(kept[:MISHAPS_KEPT]),
            exceptions_total=all_total,
            losses=tuple(losses),
            source_digests=dict(digests),
            recovered_elapsed_ns=recovered if isinstance(recovered, int) else None,
            last_look_utc=_moment(look.get("looked_utc")),
            lost_changes=int(look.get("lost", 0)),
            oldest_lost_change_utc=_moment(look.get("oldest_lost_utc")),
            error=str(ctx.facts.get("error") or ""),
            rebuilt_early=Counts(*(int(early.get(name, 0)) for name in ("objects", "size_bytes"))),
            overlap_ended=str(ctx.facts.get(ENDED) or ""),
        )

    def forecast(self, ctx: AssetContext) -> Forecast:
        """Read a few of the source's objects and scale up; writing is taken to cost as much as reading."""
        counts = inventory_counts(ctx.directory.inventory(ctx.asset.name))
        with ctx.places.open("source") as source:
            store = source.objects(container_of(ctx.asset.source))
            rows = inventory_rows(ctx.directory.inventory(ctx.asset.name))
            per_object, per_byte = _throughput(store, rows, ctx.clock)
        threads = int(str(ctx.arguments.get("threads", 16)))
        leg = counts.objects * per_object / threads + counts.size_bytes * per_byte
        requests = counts.objects * per_object / threads
        reread = counts.size_bytes * per_byte if ctx.asset.verify is Level.FULL else 0.0
        return Forecast(counts.objects, counts.size_bytes, leg, leg, requests / 100 + reread)

    def _legs(self, ctx: AssetContext, leg: str, parts: list[int], **options: Any) -> None:
        """Groups of parts: one a core, or more where there is much to do; on a cluster several a worker."""
        engine = ctx.plan.engine
        weights = {number: _weight(ctx, leg, number) for number in parts}
        # several a worker, so that at the end all have something to do
        several = min(_GROUPS_A_WORKER * engine.workers, max(_GROUPS_ON_MANY, engine.workers))
        groups = groups_of(weights, cores(), several if engine.spread else 1)
        if not groups:
            return
        cost, began_ns = LegCost.load(ctx.facts, leg), ctx.elapsed_ns()
        results: list[Result] = []
        try:
            results = ctx.run_jobs([_job(ctx, leg, group, **options) for group in groups])
            for result in results:
                cost.add(result)
        finally:  # a leg that was stopped or failed has cost its time too
            cost.worked(began_ns, ctx.elapsed_ns())
            cost.keep(ctx.facts, leg)
            _journal_paces(ctx, leg, results)

    def _with_cost(self, ctx: AssetContext, leg: LegRecord) -> LegRecord:
        return LegRecord(leg.leg, leg.outcomes, **asdict(LegCost.load(ctx.facts, leg.leg)))


def _job(ctx: AssetContext, leg: str, group: Group, **options: Any) -> tuple[str, Job]:
    return f"{leg} {ctx.asset.name} {_span(group)}", ctx.job(leg, group, **options)


def _weight(ctx: AssetContext, leg: str, number: int) -> Weight:
    """From the footer of the part that the leg reads."""
    if leg == "evacuate":
        facts = summary(part_path(ctx.directory.inventory(ctx.asset.name), STEM, number))
        return Weight(int(facts["rows"]), int(facts["bytes"]))
    facts = summary(part_path(ctx.directory.ledger(ctx.asset.name), "evacuate", number))
    return Weight(sum(facts["objects"].values()), sum(facts["bytes"].values()))


def _journal_paces(ctx: AssetContext, leg: str, results: list[Result]) -> None:
    """A line for each place that throttled us or that the drill limits: how far workers came down, what they waited."""
    by_place: dict[str, list[Mapping[str, int]]] = {}
    for result in results:
        for place, facts in _mapping(result.facts.get("pace")).items():
            by_place.setdefault(place, []).append(facts)
    for place, each in by_place.items():
        sums = {name: sum(facts[name] for facts in each) for name in each[0] if not name.endswith("window")}
        if any(sums.values()):
            lowest = {name: min(facts[name] for facts in each) for name in ("window", "smallest_window")}
            ctx.journal.record("pace", asset=ctx.asset.name, leg=leg, place=place, **lowest, **sums)


def _span(group: tuple[int, ...]) -> str:
    if len(group) == 1:
        return f"part {group[0]}"
    if group[-1] - group[0] == len(group) - 1:
        return f"parts {group[0]} to {group[-1]}"
    return f"part {group[0]} and {len(group) - 1} more"


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _moment(text: object) -> datetime | None:
    return parse_utc(text) if isinstance(text, str) else None


def _left(facts: Mapping[str, Any]) -> list[str]:
    named = [str(item) for item in facts["left"]]
    unnamed = int(facts["left_total"]) - len(named)
    return [*named, f"{facts['container']}: and {unnamed} more"] if unnamed else named


def _source_checks(ctx: AssetContext) -> list[Check]:
    """Where the inventory is from, if not from a listing; kept in the journal too."""
    report = inventory_report(ctx.directory.inventory(ctx.asset.name))
    if report is None:
        return []
    ctx.journal.record("inventory from a report", asset=ctx.asset.name, **report)
    age = human.duration(float(report["age_seconds"]))
    found = f"from a report of {report['began_utc']} ({human.key(str(report['manifest']), limit=200)}), {age} old"
    if report["delta"] == "listing":
        since = ", ".join(f"{human.count(int(report[word]))} {word}" for word in ("added", "changed", "deleted"))
        found += f"; brought up to date by a listing: {since} since"
    else:
        found += "; changes since are found when objects are copied, and at the last look"
    return [Check("inventory", ctx.asset.name, ready=True, found=found)]


def _throughput(store: ObjectStore, rows: Iterator[InventoryRow], clock: Clock) -> tuple[float, float]:
    """Seconds an object and seconds a byte, by least work: the fastest small read, and the largest's rate."""
    per_object, per_byte = 0.05, 1e-8
    timings: list[tuple[int, float]] = []
    for _, row in zip(range(_PROBED_OBJECTS), rows, strict=False):
        watch, size = Stopwatch(clock), min(row.size, _PROBED_BYTES)
        try:
            with store.read(row.key, length=size) as stream:
                for _chunk in stream.chunks():
                    pass
        except (ArchivedError, ChangedError, NotFoundError):
            continue  # the legs will say so; there are others to time
        timings.append((size, watch.elapsed_seconds))
    if timings:
        per_object = sorted(seconds for _, seconds in timings)[len(timings) // 2]
        size, seconds = max(timings)
        if size > 1_000_000 and seconds > per_object:  # noqa: PLR2004 - smaller ones say nothing about bandwidth
            per_byte = (seconds - per_object) / size
    return per_object, per_byte
