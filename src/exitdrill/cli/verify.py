"""``exitdrill verify``: checks evidence, on any machine and without a network. What a file is, its content says."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from exitdrill.cli.console import out, out_json
from exitdrill.cli.options import AsJson, Runs, set_up
from exitdrill.errors import UsageError
from exitdrill.model.human import bytes_, count, safe
from exitdrill.model.human import key as shown_key

if TYPE_CHECKING:
    from exitdrill.evidence.proof import Proof

__all__ = ["verify"]

_HERE = Path("runs")
_ROOT_BYTES = 32
_COMPARE = "compare the root with one from a verified bundle or a report you trust, or give that one: --root HEX"


def verify(
    file: Annotated[
        str, Parameter(help="A run's evidence.zip, the run's id or 'last'; or what exitdrill prove wrote.")
    ],
    /,
    *,
    key: Annotated[
        tuple[Path, ...],
        Parameter(
            negative=(), show_default=False, help="Of a bundle: the public key of one who signs, got another way."
        ),
    ] = (),
    threshold: Annotated[
        int | None, Parameter(show_default=False, help="How many keys must have signed; without, as the plan says.")
    ] = None,
    tsa_root: Annotated[
        Path | None, Parameter(show_default=False, help="Certificates (PEM) that timestamps must lead to.")
    ] = None,
    checkpoint: Annotated[
        tuple[Path, ...],
        Parameter(
            negative=(), show_default=False, help="A checkpoint kept since the drill: the journal must begin so."
        ),
    ] = (),
    approver: Annotated[
        tuple[Path, ...],
        Parameter(negative=(), show_default=False, help="The public key of one who approves steps."),
    ] = (),
    live: Annotated[
        Path | None,
        Parameter(show_default=False, help="A drill file: read a sample again at its target. Needs the network."),
    ] = None,
    sample: Annotated[int, Parameter(help="How many objects of each asset --live reads.")] = 300,
    seconds: Annotated[float, Parameter(help="How long --live may take.")] = 600.0,
    fresh: Annotated[
        bool, Parameter(negative=(), show_default=False, help="With --live: a sample that nobody could know before.")
    ] = False,
    root: Annotated[
        str | None,
        Parameter(show_default=False, help="The manifest's root, from a source you trust; 64 hexadecimal digits."),
    ] = None,
    runs: Runs = _HERE,
    json: AsJson = False,
) -> int:
    """Check a bundle, or a proof about one object, without a network; exit code 5 if something in it is not so.

    A bundle needs --key: who can forge it can forge the key inside. A proof leads to a root: without --root nothing
    shows that this is the root of the run it names.
    """
    set_up()
    from exitdrill.evidence.opened import looks_like_bundle

    path = _path(file, runs)
    if looks_like_bundle(path) or key:
        from exitdrill.cli.bundles import Live, verify_file

        again = None if live is None else Live(live, sample, seconds, fresh)
        return verify_file(path, key, threshold, tsa_root, checkpoint, approver, again, as_json=json)
    from exitdrill.evidence.proof import check, read

    expected = None if root is None else _hex(root)
    proof = read(path)
    check(proof, expected)
    if json:
        out_json(_facts(proof, compared=expected is not None))
    else:
        _show(proof, compared=expected is not None)
    return 0


def _path(name: str, runs: Path) -> Path:
    """A file; where there is none of that name, the bundle of the run that is called so."""
    path = Path(name)
    if path.exists() or "/" in name:
        return path
    from exitdrill.evidence.bundle import BUNDLE
    from exitdrill.playbook.run import find

    try:
        return find(runs, name) / BUNDLE
    except UsageError:
        return path  # whoever reads it says that there is no such file


def _hex(text: str) -> bytes:
    try:
        found = bytes.fromhex(text)
    except ValueError as exc:
        raise UsageError(f"--root {text!r} is not hexadecimal", expected="64 hexadecimal digits") from exc
    if len(found) != _ROOT_BYTES:
        raise UsageError(f"--root {text!r} is not a root", expected="64 hexadecimal digits")
    return found


def _show(proof: "Proof", *, compared: bool) -> None:
    leaf = next((leaf for leaf in proof.leaves if leaf.key == proof.key), None)
    if leaf is None:
        said = "absent: no object has this key"
    elif leaf.sha256 is None:
        said = "present: it was listed, but never read"
    else:
        said = "present"
    out(f"{said}, in a tree of {count(proof.objects, 'object')}")
    out(f"  key       {shown_key(proof.key)}")
    if leaf is not None:
        out(f"  number    {leaf.index + 1:,} of {proof.objects:,}")
        out(f"  size      {bytes_(leaf.size)} ({leaf.size:,} bytes)")
        out(f"  SHA-256   {'-' if leaf.sha256 is None else leaf.sha256.hex()}")
        out(f"  metadata  {'-' if leaf.metadata is None else leaf.metadata.hex()} (digest)")
    for near in proof.leaves if leaf is None else ():
        out(f"  beside    {near.index + 1:,}: {shown_key(near.key)}")
    out(f"  root      {proof.root.hex()}")
    out(f"  compared  {'yes: it is the root given' if compared else f'NO: {_COMPARE}'}")
    out(f"  claims    run {safe(proof.run)}, asset {safe(proof.asset)}, at the {proof.place}: if the root is theirs")


def _facts(proof: "Proof", *, compared: bool) -> dict[str, object]:
    leaf = next((leaf for leaf in proof.leaves if leaf.key == proof.key), None)
    return {
        "leads_to_root": True,
        "root": proof.root.hex(),
        "root_compared": compared,
        "run": proof.run,
        "asset": proof.asset,
        "place": proof.place.value,
        "key": proof.key,
        "objects": proof.objects,
        "present": leaf is not None,
        "size": None if leaf is None else leaf.size,
        "sha256": None if leaf is None or leaf.sha256 is None else leaf.sha256.hex(),
        "metadata": None if leaf is None or leaf.metadata is None else leaf.metadata.hex(),
    }
