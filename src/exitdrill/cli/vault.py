"""The commands that look into a vault: ls, get, export.

They read the ledger of a run and the vault it names, and write neither. `export --vault` needs no run at all.
"""

import json as json_
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

from exitdrill.cli.console import err, hide, out, out_json
from exitdrill.cli.options import AsJson, Run, Runs, set_up, wanted_key
from exitdrill.errors import DigestError, UsageError
from exitdrill.model.human import bytes_, count
from exitdrill.model.human import key as shown_key

if TYPE_CHECKING:
    from exitdrill.transfer.rows import LedgerRow
    from exitdrill.transfer.tree import Tree
    from exitdrill.transfer.vault import VaultView

__all__ = ["app"]

_HERE = Path("runs")
_BEAT_SECONDS = 10.0
_PIECE_BYTES = 1024 * 1024

OneAsset = Annotated[str | None, Parameter(help="The asset's name; not needed where the drill has one.")]
Prefix = Annotated[str, Parameter(show_default=False, help="Only objects whose key begins with this.")]

app = App(name="vault", help="Look into the vault of a run, and get objects out of it.", help_epilogue="")


@app.command
def ls(
    run: Run,
    /,
    *,
    asset: OneAsset = None,
    prefix: Prefix = "",
    long: Annotated[
        bool, Parameter(name=("--long", "-l"), negative=(), help="Also when it was modified, its SHA-256, and where.")
    ] = False,
    runs: Runs = _HERE,
    json: Annotated[bool, Parameter(negative=(), show_default=False, help="One JSON document a line.")] = False,
) -> int:
    """List the objects that a run brought to the vault, from its ledger. The vault itself is not asked."""
    set_up()
    opened = _opened(runs, run)
    objects = size = absent = 0
    for view in _views(opened, asset):
        if len(opened.assets) > 1 and not json and asset is None:
            out(f"{view.asset}:")
        for row in view.rows(prefix):
            if not row.evacuated:
                absent += 1
                continue
            objects, size = objects + 1, size + row.size
            out(json_.dumps(_facts(view.asset, row)) if json else _line(row, long=long))
        if opened.gone:
            err("its teardown has removed the vault; this is what was in it")
        done, parts = view.parts
        if done < parts:
            err(f"{view.asset}: {done} of {count(parts, 'part')} are done; the others are not listed")
    err(f"{count(objects, 'object')}, {bytes_(size)}" + (f"; {absent:,} did not reach the vault" if absent else ""))
    return 0


@app.command
def get(
    run: Run,
    key: Annotated[str | None, Parameter(help="The object's key, exactly.")] = None,
    /,
    *,
    asset: OneAsset = None,
    key_hex: Annotated[
        str | None, Parameter(help="The key's UTF-8 bytes in hexadecimal, for one that cannot be typed.")
    ] = None,
    output: Annotated[
        str | None, Parameter(name=("--output", "-o"), help="Write to this file; - is stdout, as without.")
    ] = None,
    runs: Runs = _HERE,
) -> int:
    """Get one object out of the vault. It is checked against the ledger first, and not given if it is damaged."""
    set_up()
    from exitdrill.transfer.tree import save

    wanted = wanted_key(key, key_hex)
    if output is None and sys.stdout.isatty():
        raise UsageError("an object's bytes can upset a terminal", hint="-o FILE, or -o - to have them here")
    with next(_views(_opened(runs, run), asset, one=True)) as view:
        row = view.find(wanted)
        if output not in (None, "-"):
            save(Path(str(output)), view.chunks(row))
        else:
            _to_stdout(view.chunks(row))
    err(f"{bytes_(row.size)}, SHA-256 {'' if row.sha256 is None else row.sha256.hex()}: as the ledger says")
    return 0


@app.command
def export(
    run: Annotated[Run | None, Parameter(show_default=False)] = None,
    /,
    *,
    to: Annotated[Path, Parameter(help="The folder for the files: a new one, or empty.")],
    asset: OneAsset = None,
    prefix: Prefix = "",
    names: Annotated[
        str, Parameter(help="hash: files are called by the SHA-256 of their key. key: by their key, made harmless.")
    ] = "hash",
    vault: Annotated[
        Path | None, Parameter(help="Without a run: the folder of a local vault, read without any ledger.")
    ] = None,
    container: Annotated[str | None, Parameter(help="With --vault: which container, if there are several.")] = None,
    runs: Runs = _HERE,
    json: AsJson = False,
) -> int:
    """Write objects of the vault as a tree of files, checked, with a manifest of key, path, SHA-256 and metadata."""
    set_up()
    from exitdrill.transfer.tree import Tree

    if (run is None) == (vault is None):
        raise UsageError("export either a run or, with --vault, the folder of a vault")
    if vault is None and container is not None:
        raise UsageError("--container goes with --vault", hint="with a run: --asset")
    absent = 0
    with _source(run, vault, asset, container, runs) as bring, Tree(to, names) as tree:
        absent = bring(tree, prefix)
        tree.finish()
    summary = {"objects": tree.objects, "bytes": tree.size_bytes, "damaged": tree.problems, "not_in_vault": absent}
    if json:
        out_json({"folder": str(to), **summary})
    else:
        out(f"{count(tree.objects, 'object')}, {bytes_(tree.size_bytes)}, in {to}; manifest.jsonl says which is which")
    if absent:
        err(f"{count(absent, 'object')} never reached the vault; the manifest names them")
    if tree.problems:
        err(f"error: {count(tree.problems, 'object')} or packs are damaged or gone; the manifest says which")
        return DigestError.exit_code
    return 0


@dataclass(frozen=True, slots=True)
class _Opened:
    """A run to look at."""

    path: Path
    assets: tuple[str, ...]
    gone: bool
    """Whether its teardown has removed what was in the vault."""


def _opened(runs: Path, run: str) -> _Opened:
    """Raises UsageError if there is no such run."""
    from exitdrill.cli.stored import load_plan_of, torn_down
    from exitdrill.playbook.run import find
    from exitdrill.transfer.layout import RunDirectory

    path = find(runs, run)
    RunDirectory(path).facts()
    assets = tuple(one.name for one in load_plan_of(path).assets if one.kind == "objects")
    return _Opened(path, assets, torn_down(path) is not None)


def _views(opened: _Opened, asset: str | None, *, one: bool = False) -> "Iterator[VaultView]":
    """The assets asked for. Raises UsageError for one that is not there, or if one is needed and there are several."""
    from exitdrill.cli.stored import load_plan_of
    from exitdrill.transfer.layout import RunDirectory
    from exitdrill.transfer.places import Places
    from exitdrill.transfer.vault import VaultView

    if one and opened.gone:
        what = "its teardown has removed what was in the vault"
        raise UsageError(what, resource=opened.path.name, hint="a drill that says keep: true leaves it there")
    chosen = opened.assets if asset is None else (asset,)
    if (asset is not None and asset not in opened.assets) or (one and len(chosen) != 1):
        problem = "say which asset" if asset is None else f"no asset of objects is called {asset!r}"
        raise UsageError(problem, resource=opened.path.name, expected=f"--asset, one of: {', '.join(opened.assets)}")
    directory, plan = RunDirectory(opened.path), load_plan_of(opened.path)
    places = Places(plan, Path(directory.facts().base))
    if one:
        hide(places.secrets("vault"))
    for name in chosen:
        yield VaultView(directory, plan, places, plan.asset(name))


@contextmanager
def _source(
    run: str | None, vault: Path | None, asset: str | None, container: str | None, runs: Path
) -> "Iterator[Callable[[Tree, str], int]]":
    """What fills a tree, of a run or of a folder; it returns how many objects were never in the vault."""
    from exitdrill.transfer.export import export_asset, export_container
    from exitdrill.transfer.vault import local_container

    if vault is not None:
        with local_container(vault, container) as store:

            def bring(tree: "Tree", prefix: str) -> int:
                export_container(store, tree, prefix, _beat(tree))
                return 0

            yield bring
    else:
        with next(_views(_opened(runs, str(run)), asset, one=True)) as view:
            yield lambda tree, prefix: export_asset(view, tree, prefix, _beat(tree))


def _beat(tree: "Tree") -> Callable[[], None]:
    """Says now and then how far it is."""
    last = time.monotonic()

    def beat() -> None:
        nonlocal last
        if time.monotonic() - last > _BEAT_SECONDS:
            last = time.monotonic()
            err(f"{count(tree.objects, 'object')}, {bytes_(tree.size_bytes)}")

    return beat


def _to_stdout(chunks: Iterator[bytes]) -> None:
    """All of it, once all of it is known to be right."""
    with tempfile.TemporaryFile() as spool:
        for chunk in chunks:
            spool.write(chunk)
        spool.seek(0)
        with suppress(BrokenPipeError):  # nobody reads any more
            while piece := spool.read(_PIECE_BYTES):
                sys.stdout.buffer.write(piece)
            sys.stdout.buffer.flush()


def _where(row: "LedgerRow") -> str:
    return row.vault_key if row.vault_offset is None else f"{row.vault_key}+{row.vault_offset}"


def _line(row: "LedgerRow", *, long: bool) -> str:
    line = f"{row.size:>15,}  {shown_key(row.key)}"
    if not long:
        return line
    modified = "-" if row.modified is None else f"{row.modified:%Y-%m-%d %H:%M:%S}"
    digest = "-" if row.sha256 is None else row.sha256.hex()
    where = "-" if row.vault_offset is None else _where(row)
    return f"{modified:19}  {digest}  {where:<45}  {line}"


def _facts(asset: str, row: "LedgerRow") -> dict[str, object]:
    return {
        "asset": asset,
        "key": row.key,
        "size": row.size,
        "sha256": None if row.sha256 is None else row.sha256.hex(),
        "modified": None if row.modified is None else row.modified.isoformat(),
        "etag": row.etag,
        "vault_key": row.vault_key,
        "vault_offset": row.vault_offset,
    }
