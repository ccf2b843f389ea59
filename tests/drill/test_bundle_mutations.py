"""What somebody could change in a bundle, one thing at a time: each is caught.

The file as it is; members changed and the file put together again as the program would, so that neither CRC-32 nor the
BagIt manifests are what catches it; and members changed and everything signed anew by the right keys, so that only what
the members say of one another does.
"""

import json
import random
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

from exitdrill.evidence.index import INDEX, TAG_FILES
from exitdrill.evidence.keys import new_key
from exitdrill.evidence.opened import OpenBundle
from exitdrill.evidence.signers import open_key
from exitdrill.evidence.zipped import read_layout
from sealed import Sealed, apart, failed, flip, make_sealed, together, zipped

_FLIPS = 2400
_SEED = 20260105


def test_2400_flipped_bits(sealed: Sealed) -> None:
    """Every byte of the zip's own structure, and others by chance, one bit of each: not one is taken."""
    data = sealed.bundle
    with OpenBundle.of(data) as opened:
        members = read_layout(opened._source)
    structural = {0, len(data) - 1, len(data) - 22}
    for member in members:
        structural |= set(range(member.offset, member.start)) if member.name.endswith(("plan.json", ".zip")) else set()
        structural |= {member.offset, member.offset + 14, member.start, member.end - 1}
    structural |= set(range(members[-1].end, len(data)))  # the directory, and its end
    chance = random.Random(_SEED)
    places = sorted(structural)
    if len(places) > _FLIPS // 2:
        places = sorted(chance.sample(places, _FLIPS // 2))
    places += chance.sample(range(len(data)), _FLIPS - len(places))
    assert len(places) == _FLIPS >= 2000
    taken = [at for at in places if not failed(sealed.verify(flip(data, at, chance.randrange(8))))]
    assert taken == []


def test_every_bit_of_the_tags_and_the_index(sealed: Sealed) -> None:
    """Files that are not in the index: the same members, one tag file changed in one bit, zipped anew."""
    run, members = apart(sealed.bundle)
    chance = random.Random(_SEED)
    taken = []
    for name in (INDEX, *TAG_FILES):
        for at in chance.sample(range(len(members[name])), min(80, len(members[name]))):
            changed = {**members, name: flip(members[name], at, chance.randrange(8))}
            if not failed(sealed.verify(zipped(run, list(changed.items())))):
                taken.append((name, at))
    assert taken == []


def test_another_form_of_the_index(sealed: Sealed) -> None:
    """Spaces, another order, a signature twice, one less, none: the manifests fit it, and it is not taken."""
    run, members = apart(sealed.bundle)
    envelope = json.loads(members[INDEX])
    signatures = envelope["signatures"]
    forms = [
        json.dumps(envelope),
        json.dumps(envelope, sort_keys=True, separators=(",", ":")) + "\n",
        json.dumps(dict(reversed(envelope.items())), separators=(",", ":")),
        *(
            json.dumps({**envelope, "signatures": changed}, sort_keys=True, separators=(",", ":"))
            for changed in (
                signatures[:1],
                [],
                [{**signatures[0], "keyid": ""}, signatures[1]],
                [*signatures, {"keyid": "00", "sig": "AAAA"}],
            )
        ),
    ]
    for form in forms:
        assert failed(sealed.verify(together(run, {**members, INDEX: form.encode()}))), form


def _other_run(sealed: Sealed, tmp_path_factory: pytest.TempPathFactory) -> Sealed:
    folder = tmp_path_factory.mktemp("another")
    for name in ("a.pem", "b.pem", "ada.pem"):
        for suffix in ("", ".pub"):
            (folder / (name + suffix)).write_bytes((sealed.folder / (name + suffix)).read_bytes())
            (folder / name).chmod(0o600)
    return make_sealed(folder, sealed.root.parent)


def _payload(members: dict[str, bytes]) -> dict[str, bytes]:
    return {name: data for name, data in members.items() if name.startswith("data/")}


def test_members_changed_and_zipped_anew(sealed: Sealed) -> None:
    """Each removed, truncated, lengthened, emptied, flipped, one more; the manifests agree, the signature is old."""
    run, members = apart(sealed.bundle)
    changes = []
    for name, data in _payload(members).items():
        others = (data[:-1], data + b"\n", b"", flip(data, len(data) // 2))
        changes += [{**members, name: changed} for changed in others]
        changes.append({other: kept for other, kept in members.items() if other != name})
    changes.append({**members, "data/another.txt": b"one more"})
    assert all(failed(sealed.verify(together(run, changed))) == ["members"] for changed in changes)


def test_members_in_another_order(sealed: Sealed) -> None:
    """Also where the bytes are the same: the file has one form."""
    run, members = apart(sealed.bundle)
    listed = list(members.items())
    for at in range(len(listed) - 1):
        swapped = [*listed[:at], listed[at + 1], listed[at], *listed[at + 2 :]]
        assert failed(sealed.verify(zipped(run, swapped))), listed[at][0]
    assert failed(sealed.verify(zipped(run, [*listed, listed[0]])))


def test_signed_by_another_key(sealed: Sealed, tmp_path_factory: pytest.TempPathFactory) -> None:
    """With each key wrong, and with one of two wrong."""
    folder = tmp_path_factory.mktemp("keys")
    new_key(folder / "x")
    stranger = open_key("x", folder)
    run, members = apart(sealed.bundle)
    for signers in ([stranger], [sealed.signers[0], stranger], [sealed.signers[0]], [sealed.signers[0]] * 2):
        assert failed(sealed.verify(together(run, members, signers))), len(signers)


def test_members_of_another_run_signed_anew(sealed: Sealed, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Who has the keys puts each member of another run into this one: what members say of one another shows it."""
    other = _other_run(sealed, tmp_path_factory)
    run, members = apart(sealed.bundle)
    _, theirs = apart(other.bundle)
    for name in _payload(members):
        if name in theirs and theirs[name] != members[name]:
            changed = together(run, {**members, name: theirs[name]}, sealed.signers)
            assert failed(sealed.verify(changed)), name
    assert failed(sealed.verify(together(other.run.name, members, sealed.signers)))


def test_members_changed_and_signed_anew(sealed: Sealed) -> None:
    """Who has the keys removes, truncates, lengthens or flips a member and signs: the log was closed over it."""
    run, members = apart(sealed.bundle)
    taken = []
    for name, data in _payload(members).items():
        for how, changed in (("cut", data[:-1]), ("longer", data + b"\n"), ("flip", flip(data, len(data) // 2))):
            made = together(run, {**members, name: changed}, sealed.signers)
            if not failed(sealed.verify(made)):
                taken.append((name, how))
        made = together(run, {other: kept for other, kept in members.items() if other != name}, sealed.signers)
        if not failed(sealed.verify(made)):
            taken.append((name, "removed"))
    more = together(run, {**members, "data/report-more.txt": b"one more"}, sealed.signers)
    assert failed(sealed.verify(more)) == ["closed"]
    assert taken == []


def _leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if isinstance(value, dict | list) and value:
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for name, item in items:
            yield from _leaves(item, (*path, name))
    else:
        yield path


def _other(value: Any) -> Any:
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1
    if isinstance(value, str):
        return value + "x"
    return "x" if value is None else [*value, "x"] if isinstance(value, list) else {"x": "x"}


def _with(value: Any, path: tuple[Any, ...]) -> Any:
    if not path:
        return _other(value)
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = _with(value[path[0]], path[1:])
    return copy


@pytest.mark.parametrize("name", ["record.json", "verdict.json", "plan.json", "run.json", "cut.json"])
def test_every_field_changed_and_signed_anew(sealed: Sealed, name: str) -> None:
    """One field another, the whole signed by the right keys: caught. The large ones by a sample of their fields."""
    run, members = apart(sealed.bundle)
    whole = json.loads(members[f"data/{name}"])
    paths = list(_leaves(whole))
    chosen = random.Random(_SEED).sample(paths, min(60, len(paths)))
    make = partial(together, run)
    taken = []
    for path in chosen:
        changed = json.dumps(_with(whole, path), indent=1).encode() + b"\n"
        if not failed(sealed.verify(make({**members, f"data/{name}": changed}, sealed.signers))):
            taken.append(path)
    assert taken == []


def test_lines_of_the_journal_changed_and_signed_anew(sealed: Sealed) -> None:
    """A line removed, twice, or swapped with the next: the checkpoints are about another journal."""
    run, members = apart(sealed.bundle)
    lines = members["data/journal.jsonl"].splitlines(keepends=True)
    for at in range(len(lines) - 1):
        for changed in (
            [*lines[:at], *lines[at + 1 :]],
            [*lines[: at + 1], *lines[at:]],
            [*lines[:at], lines[at + 1], lines[at], *lines[at + 2 :]],
        )[at % 3 : at % 3 + 1]:
            made = together(run, {**members, "data/journal.jsonl": b"".join(changed)}, sealed.signers)
            assert failed(sealed.verify(made)), at
