"""``exitdrill verify``: checks evidence, on any machine and without a network. What a file is, its content says."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from exitdrill.cli.console import out, out_json
from exitdrill.cli.options import AsJson, set_up
from exitdrill.errors import UsageError
from exitdrill.model.human import bytes_, count, safe
from exitdrill.model.human import key as shown_key

if TYPE_CHECKING:
    from exitdrill.evidence.proof import Proof

__all__ = ["verify"]

_ROOT_BYTES = 32
_COMPARE = "compare the root with one from a verified bundle or a report you trust, or give that one: --root HEX"


def verify(
    file: Annotated[Path, Parameter(help="What exitdrill prove wrote.")],
    /,
    *,
    root: Annotated[
        str | None,
        Parameter(show_default=False, help="The manifest's root, from a source you trust; 64 hexadecimal digits."),
    ] = None,
    json: AsJson = False,
) -> int:
    """Check a proof about one object; exit code 5 if it does not prove what it claims.

    A proof leads to a root. Without --root nothing shows that this is the root of the run it names.
    """
    set_up()
    from exitdrill.evidence.proof import check, read

    expected = None if root is None else _hex(root)
    proof = read(file)
    check(proof, expected)
    if json:
        out_json(_facts(proof, compared=expected is not None))
    else:
        _show(proof, compared=expected is not None)
    return 0


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
