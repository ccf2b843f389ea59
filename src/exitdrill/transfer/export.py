"""What a vault holds, into a `Tree`: by a run's ledger, or from the vault alone.

An object that is damaged or gone is noted and left out, and the others still come. What is wrong with the vault or
the disk as a whole is raised.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace

from exitdrill.connector.objects import ObjectStore
from exitdrill.errors import ChangedError, DigestError, NotFoundError
from exitdrill.model.objects import Envelope, ObjectEntry
from exitdrill.transfer.packs import PackFacts, read_pack
from exitdrill.transfer.rows import LedgerRow
from exitdrill.transfer.tree import Exported, Tree
from exitdrill.transfer.vault import VaultView, checked, object_chunks
from exitdrill.transfer.vaultkeys import parsed

__all__ = ["export_asset", "export_container"]

_OF_AN_OBJECT = (DigestError, NotFoundError, ChangedError)


def export_asset(view: VaultView, tree: Tree, prefix: str, beat: Callable[[], None]) -> int:
    """Every object of an asset, by the ledger.

    Args:
        view: The asset.
        tree: Where to.
        prefix: Only keys that begin so.
        beat: Called after each object.

    Returns:
        How many objects never reached the vault; the manifest names them.

    Raises:
        RunError, ConnectorError: The ledger or the vault cannot be read.
    """
    absent = 0
    for row in view.rows(prefix):
        what = _exported(row, row.size)
        if not row.evacuated:
            absent += 1
            tree.remark(what, f"not in the vault: {row.outcome}")
            continue
        try:
            tree.add(what, view.packed(row))
        except _OF_AN_OBJECT as error:
            tree.note(what, str(error))
        beat()
    return absent


def export_container(store: ObjectStore, tree: Tree, prefix: str, beat: Callable[[], None]) -> None:
    """Every object of a container of a vault, from its packs and objects alone.

    What stands in more than one pack comes once where the bytes agree, and each time where they do not: which of
    them counts, only the ledger knows.

    Args:
        store: The container.
        tree: Where to.
        prefix: Only keys that begin so; an object whose key is not known comes only with none.
        beat: Called after each object.

    Raises:
        ConnectorError: The vault cannot be read.
    """
    for entry in store.list():
        found = parsed(entry.key)
        if found.pack:
            _pack(store, entry, tree, prefix, beat)
        elif (found.key or "").startswith(prefix):
            _single(store, entry, tree)
            beat()


def _pack(store: ObjectStore, entry: ObjectEntry, tree: Tree, prefix: str, beat: Callable[[], None]) -> None:
    resource = store.describe(entry.key)
    try:
        for member in read_pack(object_chunks(store, entry.key, entry.etag), resource):
            facts = member.facts
            if facts.key.startswith(prefix):
                tree.add(_exported(facts, len(member.data)), (member.data,))
                beat()
    except _OF_AN_OBJECT as error:
        hashed = parsed(entry.key).hashed
        tree.note(Exported(None, hashed, entry.size, None, None, entry.etag, "{}"), f"a damaged pack: {error}")


def _single(store: ObjectStore, listed: ObjectEntry, tree: Tree) -> None:
    found = parsed(listed.key)
    what = Exported(found.key, found.hashed, listed.size, listed.digests.sha256, None, None, "{}")
    try:
        entry = store.stat(listed.key)
        envelope = json.dumps((entry.envelope or Envelope()).to_json())
        what = replace(what, size=entry.size, sha256=entry.digests.sha256, envelope=envelope)
        chunks = object_chunks(store, listed.key, entry.etag)
        tree.add(what, checked(chunks, entry.size, entry.digests.sha256, store.describe(listed.key)))
    except _OF_AN_OBJECT as error:
        tree.note(what, str(error))


def _exported(facts: LedgerRow | PackFacts, size: int) -> Exported:
    hashed = hashlib.sha256(facts.key.encode()).hexdigest()
    return Exported(facts.key, hashed, size, facts.sha256, facts.modified, facts.etag, facts.envelope)
