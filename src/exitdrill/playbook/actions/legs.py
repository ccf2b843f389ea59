"""The actions that work on each asset."""

from dataclasses import replace
from typing import ClassVar

from exitdrill.assets.interface import AssetContext, AssetKind, asset_kind
from exitdrill.errors import NotReadyError, RunError
from exitdrill.model.record import Check
from exitdrill.plan.drill import Step
from exitdrill.playbook.action import Action, StepContext
from exitdrill.playbook.actions.cutting import cut_early
from exitdrill.transfer.cut import load_cut

__all__ = ["Evacuate", "Inventory", "LastLook", "Rebuild", "Verify"]


def _of(ctx: StepContext) -> tuple[AssetKind, AssetContext]:
    if ctx.asset is None:  # pragma: no cover - the executor gives one to per_asset actions
        raise RunError("this action works on assets", resource=ctx.step.id)
    return asset_kind(ctx.asset.kind), ctx.of_asset(ctx.asset)


def must_be_ready(checks: list[Check]) -> None:
    """Raise NotReadyError naming everything that is not ready."""
    missing = [check for check in checks if not check.ready]
    if missing:
        text = "\n".join(
            f"  {c.name} {c.resource}: {c.found}" + (f" -> {c.action}" if c.action else "") for c in missing
        )
        raise NotReadyError(f"{len(missing)} of {len(checks)} checks say no:\n{text}\n")


class Inventory(Action):
    """``assets.inventory``: write down what there is, and check that it can be held."""

    per_asset: ClassVar[bool] = True

    def run(self, ctx: StepContext) -> None:
        """As `Action.run`."""
        kind, context = _of(ctx)
        checks = kind.inventory(context)
        for check in checks:
            ctx.run.state.forget_check(check.name, check.resource)
            ctx.run.state.check(check)
            ctx.run.journal.record("checked", name=check.name, resource=check.resource, ready=check.ready)
        must_be_ready(checks)


class Evacuate(Action):
    """``assets.evacuate``: source → vault; with ``overlap`` also vault → target, of what is there already."""

    per_asset: ClassVar[bool] = True

    def prepare(self, ctx: StepContext) -> None:
        """With ``overlap``, cut the workers that rebuild off from the source before there is any."""
        if _rebuild_step(ctx) is not None:
            cut_early(ctx.run, ctx.conductor)

    def run(self, ctx: StepContext) -> None:
        """As `Action.run`."""
        kind, context = _of(ctx)
        rebuild = _rebuild_step(ctx)
        if rebuild is None:
            kind.evacuate(context)
            return
        _, rebuilding = _of(replace(ctx, step=rebuild))
        kind.overlap(context, rebuilding)


def _rebuild_step(ctx: StepContext) -> Step | None:
    """The step whose work overlaps this one's; None if none does."""
    run = ctx.run
    if not run.plan.overlap or load_cut(run.directory.cut) is not None:
        return None
    return next((step for step in run.plan.playbook.steps if step.uses == "assets.rebuild"), None)


class LastLook(Action):
    """``source.last_look``: what changed at the source and did not reach the vault."""

    per_asset: ClassVar[bool] = True

    def run(self, ctx: StepContext) -> None:
        """As `Action.run`."""
        kind, context = _of(ctx)
        kind.last_look(context)


class Rebuild(Action):
    """``assets.rebuild``: vault → target."""

    per_asset: ClassVar[bool] = True

    def run(self, ctx: StepContext) -> None:
        """As `Action.run`."""
        kind, context = _of(ctx)
        kind.rebuild(context)


class Verify(Action):
    """``assets.verify``: prove what is at the target. The asset's recovery ends here, if everything is there."""

    per_asset: ClassVar[bool] = True

    def run(self, ctx: StepContext) -> None:
        """As `Action.run`."""
        kind, context = _of(ctx)
        proven = kind.verify(context)
        elapsed = ctx.run.clock.elapsed_ns
        recovered = elapsed if proven else None
        context.facts.put("recovered_elapsed_ns", recovered)
        ctx.run.journal.record(
            "asset verified", asset=context.asset.name, proven=proven, recovered_elapsed_ns=recovered
        )
