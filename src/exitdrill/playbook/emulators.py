"""The emulators of a run: started when it begins or is taken up again, filled once, stopped when it closes."""

from pathlib import Path

from exitdrill.emulator import emulator
from exitdrill.emulator.seed import fill, parse_seeds
from exitdrill.errors import NotReadyError
from exitdrill.playbook.run import Run

__all__ = ["ready_emulators"]


def ready_emulators(run: Run) -> None:
    """Start what the places of this run ask for and is not running; fill what was not filled.

    Raises:
        NotReadyError: One does not start, or lost what it held when the run was interrupted.
    """
    wanted = [place for place in run.plan.places.values() if place.emulator and place.name not in run.emulators]
    if not wanted:
        return
    stop = run.clock.lap("starting emulators")
    for place in wanted:
        chosen = emulator(str(place.emulator))
        if run.state.get("emulators", place.name) and not chosen.persistent:
            raise NotReadyError(
                f"{chosen.name} kept its data in memory and ended with the interrupted process",
                resource=f"place {place.name}",
                hint="start the drill anew; seaweedfs and azurite keep theirs on disk",
            )
        run.options.progress.note(f"starting {chosen.name} for {place.name}")
        run.journal.record("emulator starts", place=place.name, emulator=chosen.name)
        run.emulators[place.name] = chosen.start(Path(run.directory.path, "emulators", place.name))
        run.state.put("emulators", place.name, chosen.name)
    for place in wanted:
        if place.seed and not run.state.get("seeded", place.name):
            _fill(run, place.name)
    run.state.lap(stop())
    run.journal.record("emulators ready")


def _fill(run: Run, name: str) -> None:
    place = run.plan.places[name]
    role = next(r for r in ("source", "vault", "target") if getattr(run.plan.route, r) == name)
    run.options.progress.note(f"filling {name} with made-up objects")
    run.journal.record("emulator filled", place=name)
    with run.places.open(role) as provider:
        filled = fill(provider, parse_seeds(place.seed))
    run.state.put("seeded", name, sum(f.objects for f in filled))
