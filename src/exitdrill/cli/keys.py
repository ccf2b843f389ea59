"""The commands that work on keys: keys new, keys show."""

from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from exitdrill.cli.console import err, out, out_json
from exitdrill.cli.options import AsJson, set_up

__all__ = ["app"]

app = App(name="keys", help="Make the keys that sign evidence and approvals, and show what they are.", help_epilogue="")


@app.command
def new(
    path: Annotated[Path, Parameter(help="The file of the private key; its public half goes beside it, as PATH.pub.")],
    /,
    *,
    json: AsJson = False,
) -> int:
    """Make a key pair (Ed25519). Files that are there already are left alone."""
    set_up()
    from exitdrill.evidence.keys import new_key, public_path

    key, public = new_key(path), public_path(path)
    if json:
        out_json({"id": key.id, "kind": key.kind.value, "private": str(path), "public": str(public)})
        return 0
    out(key.id)
    err(f"{path}: the private key, mode 0600. Keep it where only who signs can read it; it cannot be made anew.")
    err(f"{public}: its public half. Give it to auditors before a drill, by another way than the evidence will go.")
    return 0


@app.command
def show(
    path: Annotated[Path, Parameter(help="The file of a public key (PEM).")],
    /,
    *,
    json: AsJson = False,
) -> int:
    """Show a public key's id and fingerprint, to be compared with what its owner says."""
    set_up()
    from exitdrill.evidence.publickey import PublicKey

    key = PublicKey.load(path)
    if json:
        out_json({"id": key.id, "kind": key.kind.value, "fingerprint": key.fingerprint})
        return 0
    out(f"id           {key.id}")
    out(f"kind         {key.kind.value}")
    out(f"fingerprint  SHA-256 {key.fingerprint}")
    return 0
