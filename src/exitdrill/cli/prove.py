"""``exitdrill prove``: a file that shows one object at one place of a run, or that there was none."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from exitdrill.cli.console import err, out
from exitdrill.cli.options import Runs, set_up, wanted_key
from exitdrill.errors import EvidenceError, UsageError

if TYPE_CHECKING:
    from exitdrill.evidence.proof import Proof
    from exitdrill.model.record import AssetRecord

__all__ = ["prove"]

_HERE = Path("runs")


def prove(
    run: Annotated[str, Parameter(help="The run, as everywhere; or the path of a bundle.")],
    /,
    *,
    asset: Annotated[str | None, Parameter(help="The asset's name; not needed where the drill has one.")] = None,
    key: Annotated[str | None, Parameter(help="The object's key at the source, exactly.")] = None,
    key_hex: Annotated[
        str | None, Parameter(help="The key's UTF-8 bytes in hexadecimal, for one that cannot be typed.")
    ] = None,
    at: Annotated[Literal["source", "vault", "target"], Parameter(help="At which place.")] = "target",
    output: Annotated[
        Path | None, Parameter(name=("--output", "-o"), show_default=False, help="Write to this file, not to stdout.")
    ] = None,
    public: Annotated[
        tuple[Path, ...],
        Parameter(negative=(), show_default=False, help="Of a bundle: the public key of one who signs."),
    ] = (),
    runs: Runs = _HERE,
) -> int:
    """Write a proof of about a kilobyte that one object was at a place of a run, or that there was none.

    exitdrill verify PROOF checks it, on any machine.
    """
    set_up()
    from exitdrill.evidence.proof import dump

    wanted = wanted_key(key, key_hex)
    path = Path(run)
    if path.is_file():
        found = _proved_by_bundle(path, public, asset, wanted, at)
    else:
        found = _proved(runs, run, asset, wanted, at)
    data = dump(found)
    if output is None:
        out(data.decode().rstrip("\n"))
    else:
        _save(output, data)
    leaf = next((leaf for leaf in found.leaves if leaf.key == found.key), None)
    is_there = "no such object" if leaf is None else "listed, but never read" if leaf.sha256 is None else "there"
    err(f"{found.asset} at the {found.place}: {is_there}; root {found.root.hex()}")
    return 0


def _proved(runs: Path, run: str, asset: str | None, key: str, at: str) -> "Proof":
    """Raises UsageError, EvidenceError if record or ledger are not those that were sealed."""
    from exitdrill.cli.stored import load_record
    from exitdrill.evidence.manifest import Place, RunLedgers
    from exitdrill.evidence.proof import prove as proof_of
    from exitdrill.evidence.sealed import seal_state
    from exitdrill.playbook.run import find
    from exitdrill.transfer.layout import RunDirectory

    path = find(runs, run)
    directory, record = RunDirectory(path), load_record(path)
    seal_state(path)  # the record is the one that was sealed
    measured = _chosen(record.assets, asset, path.name)
    found = proof_of(directory.id, RunLedgers(directory), measured, Place(at), key)
    sealed = None if measured.roots is None else getattr(measured.roots, at).root
    if not sealed:
        err("warning: the run has no sealed root to compare with: it was not sealed, or is of an earlier version")
    elif sealed != found.root.hex():
        what = f"the ledger leads to another root than was sealed: {found.root.hex()}"
        raise EvidenceError(what, resource=f"{measured.name} at the {at}", expected=sealed)
    return found


def _proved_by_bundle(path: Path, public: tuple[Path, ...], asset: str | None, key: str, at: str) -> "Proof":
    """From a bundle alone. Raises UsageError, EvidenceError if the bundle does not verify."""
    from exitdrill.evidence.checking import Given, Result, checked_bundle
    from exitdrill.evidence.manifest import Place
    from exitdrill.evidence.opened import OpenBundle
    from exitdrill.evidence.proof import prove as proof_of
    from exitdrill.evidence.publickey import PublicKey

    if not public:
        raise UsageError("no key is given", resource=str(path), hint="--public KEY.pub: of whoever signed the bundle")
    given = Given([PublicKey.load(one) for one in public])
    with checked_bundle(partial(OpenBundle.open, path), given) as (report, case):
        failed = [row for row in report.rows if row.result is Result.FAILED]
        if case is None or failed:
            hint = f"exitdrill verify {path} --key KEY.pub shows all of it"
            raise EvidenceError(f"does not verify: {failed[0].what}: {failed[0].said}", resource=str(path), hint=hint)
        measured = _chosen(case.record.assets, asset, case.bundle.run)
        return proof_of(case.bundle.run, case.ledgers, measured, Place(at), key)


def _chosen(assets: "tuple[AssetRecord, ...]", asset: str | None, run: str) -> "AssetRecord":
    known = {one.name: one for one in assets if one.kind == "objects"}
    if asset in known:
        return known[asset]
    if asset is None and len(known) == 1:
        return next(iter(known.values()))
    problem = "say which asset" if asset is None else f"no asset of objects is called {asset!r}"
    raise UsageError(problem, resource=run, expected=f"--asset, one of: {', '.join(known) or 'there are none'}")


def _save(path: Path, data: bytes) -> None:
    try:
        path.write_bytes(data)
    except OSError as exc:
        raise UsageError(f"cannot be written: {exc.strerror}", resource=str(path)) from exc
