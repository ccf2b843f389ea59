"""Preflight of several machines: the scheduler, its workers, what each of them sees, and the table of claims.

Each is proven by doing it. Nothing of it stays: the rows and files made to try are removed again.
"""

import fcntl
import secrets
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Any

from exitdrill.assets.preflight import advice
from exitdrill.connector.objects import BytesBody, WriteRequest
from exitdrill.errors import ConnectorError, ExitdrillError
from exitdrill.model.objects import Envelope
from exitdrill.model.record import Check
from exitdrill.playbook.run import Run
from exitdrill.transfer.claims import claim_table
from exitdrill.transfer.cleanup import probe_base
from exitdrill.transfer.outlook import FILE, LOCK, look_before, look_closely, read_from_vault
from exitdrill.transfer.places import vault_container
from exitdrill.transfer.postgres import ClaimTable, Key

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["cluster_checks", "vault_check"]

_CONNECT_SECONDS = 10
_LOOK_SECONDS = 120
_SAME = ("exitdrill", "distributed", "cloudpickle", "prefect", "prefect-dask")
_SHOWN = 5
_LOOPBACK = ("127.", "localhost", "[::1]")
_EXTRA = "pip install 'exitdrill[cluster]', here and on every machine of the cluster"
_FOLDER = "runs folder"
_ACTIONS: Mapping[str, str] = {
    _FOLDER: "put the runs (--runs) on a file system that every machine has at this path, with locks and hard links",
    "claims": "let every machine reach that Postgres, with the variable set in its worker's environment",
    "source": "set the credentials in the environment of that machine's worker, and let it reach the place",
    "vault": "use a vault on S3 or on a mount that every machine has at the same path",
}

Answers = Mapping[str, Mapping[str, str]]
"""By worker, what `exitdrill.transfer.outlook` answered there."""


def cluster_checks(run: Run) -> Iterator[Check]:
    """Whether the cluster could carry the drill out: a line for each thing looked at."""
    yield _claims(run)
    address = str(run.plan.engine.address)
    try:
        import distributed  # noqa: F401 - whether it is there
    except ImportError as exc:
        yield Check("cluster", address, ready=False, found=f"Dask cannot be loaded: {exc}", action=_EXTRA)
        return
    try:
        with _connected(address) as client:
            yield from _cluster(run, client, address)
    except (OSError, ValueError, RuntimeError) as exc:
        said = f"the scheduler does not answer: {type(exc).__name__}: {exc}"
        yield Check("cluster", address, ready=False, found=said, action="start it: dask scheduler; see the address")


def _cluster(run: Run, client: "Client", address: str) -> Iterator[Check]:
    workers = _workers(client)
    wanted = run.plan.engine.workers
    threads = sum(workers.values())
    enough = len(workers) >= wanted
    action = "" if enough else f"start workers, on each machine: dask worker {address} --nthreads N"
    if enough and address.startswith("tcp://") and not address.removeprefix("tcp://").startswith(_LOOPBACK):
        action = "whoever reaches it runs code on its machines: tls://, or a network of its own"
    found = f"{len(workers)} workers with {threads} threads; {wanted} wanted"
    yield Check("cluster", address, enough, found, action)
    if not workers or not enough:
        return
    versions = _versions(client, address)
    yield versions
    if versions.ready:
        yield from _looks(run, client, tuple(workers))


def _connected(address: str) -> "Client":
    from distributed import Client

    return Client(address, timeout=_CONNECT_SECONDS, set_as_default=False)  # type: ignore[no-untyped-call]  # untyped there


def _workers(client: "Client") -> dict[str, int]:
    return dict(client.nthreads())  # type: ignore[no-untyped-call]  # distributed leaves it so


def _versions(client: "Client", address: str) -> Check:
    """Code and values cross by pickle: the same versions, and the same Python but for its last number."""
    told: Any = client.get_versions(packages=list(_SAME))
    ours = _of(told["client"])
    others = {"scheduler": _of(told["scheduler"])} | {name: _of(said) for name, said in told["workers"].items()}
    wrong = []
    for name, theirs in others.items():
        # the scheduler carries sealed messages: of our packages it needs none
        packages = ("python", "distributed") if name == "scheduler" else ("python", *_SAME)
        differ = [f"{p} {theirs.get(p) or 'missing'}" for p in packages if theirs.get(p) != ours.get(p)]
        if differ:
            wrong.append(f"{name}: {', '.join(differ)}")
    here = ", ".join(f"{package} {ours.get(package)}" for package in ("python", "exitdrill", "distributed"))
    action = "install the same on every machine, from one lock file" if wrong else ""
    return Check("versions", address, not wrong, _some(wrong, f"the same everywhere: {here}", f"; here {here}"), action)


def _of(said: Any) -> dict[str, str | None]:
    if not isinstance(said, Mapping):
        return {}
    packages = dict(said["packages"])
    packages["python"] = ".".join(str(packages.get("python", "")).split(".")[:2])
    return packages


def _looks(run: Run, client: "Client", workers: Sequence[str]) -> Iterator[Check]:
    """Each worker's own look at the run's folder, the places and the claims."""
    folder = run.directory.scratch(f"cluster-{secrets.token_hex(4)}")
    try:
        list(folder.iterdir())  # for the caches of this machine
        first = _ask(client, workers, lambda _: (look_before, str(folder)))
        word = secrets.token_hex(16)
        names = {worker: f"answer-{n}" for n, worker in enumerate(workers)}
        data = run.plan.to_json()
        with (folder / LOCK).open("wb") as lock:
            fcntl.lockf(lock, fcntl.LOCK_EX)
            (folder / FILE).write_text(word, encoding="utf-8")
            second = _ask(
                client,
                workers,
                lambda worker: (
                    *(look_closely, str(folder), word, names[worker]),
                    *(data, str(run.directory.path), str(run.base)),
                ),
            )
        unseen = set(names.values()) - {path.name for path in folder.iterdir()}
        for worker, name in names.items():
            if name in unseen and not second[worker].get(_FOLDER):
                second[worker] = {**second[worker], _FOLDER: "what it writes is not seen here at once"}
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    both = {
        worker: {**said, _FOLDER: first[worker].get(_FOLDER) or said.get(_FOLDER, "")}
        for worker, said in second.items()
    }
    for what in (_FOLDER, "claims", "source", "vault", "target"):
        yield _joined(what, both)


def _ask(client: "Client", workers: Sequence[str], call: Any) -> dict[str, dict[str, str]]:
    """One call on each worker, side by side."""
    futures = {}
    for worker in workers:
        function, *arguments = call(worker)
        futures[worker] = client.submit(function, *arguments, workers=[worker], allow_other_workers=False, pure=False)
    answers = {}
    for worker, future in futures.items():
        try:
            answers[worker] = dict(future.result(_LOOK_SECONDS))
        except Exception as exc:  # noqa: BLE001 - Dask's, or of a worker that died: told in words
            said = f"did not answer: {type(exc).__name__}: {exc}"
            answers[worker] = dict.fromkeys((_FOLDER, "claims", "source", "vault", "target"), said)
    return answers


def _joined(what: str, answers: Answers) -> Check:
    """One line for what all workers were asked."""
    wrong = [f"{said.get('host', worker)}: {said[what]}" for worker, said in answers.items() if said.get(what)]
    fine = f"{'seen' if what == _FOLDER else 'reached'} by {len(answers)} workers"
    action = _ACTIONS.get(what, _ACTIONS["source"]) if wrong else ""
    return Check("cluster", what, not wrong, _some(wrong, fine), action)


def _some(wrong: Sequence[str], fine: str, after: str = "") -> str:
    if not wrong:
        return fine
    more = f"; and {len(wrong) - _SHOWN} more" if len(wrong) > _SHOWN else ""
    return "; ".join(dict.fromkeys(wrong[:_SHOWN])) + more + after


def _claims(run: Run) -> Check:
    """Whether Postgres answers and its rights suffice: a claim made, renewed, finished and removed."""
    try:
        with claim_table(run.plan, run.directory, run.environ(), run.base, patience_seconds=0) as table:
            if (beside := _at_source(run, table)) is not None:
                return beside
            made = table.prepare()
            run.state.put("cluster", "claims", value=True)  # from here on there may be rows of this run
            try:
                _try_claims(table, run.id)
            finally:
                table.forget(run.id)
            found = f"{'table made; ' if made else ''}claimed, renewed, finished and removed"
            return Check("claims", table.resource, ready=True, found=found)
    except ExitdrillError as error:
        return Check("claims", "Postgres", ready=False, found=error.problem, action=advice("claims", error))


def _try_claims(table: ClaimTable, run: str) -> None:
    key = Key(run, "probe", "", 1)
    token = table.claim(key, "preflight", 60.0)
    if token is None or table.claim(key, "another", 60.0) is not None:
        raise ConnectorError("two could claim the same part", resource=table.resource)
    table.ask_stop(run, "probe", "", stop=True)
    if table.renew(key, token, 60.0, (0, 0, 0)) is not True or not table.finish(key, token, (0, 0, 0)):
        raise ConnectorError("a claim could not be renewed and finished", resource=table.resource)


def _at_source(run: Run, table: ClaimTable) -> Check | None:
    """A database at the source is gone after the cut, and the claims with it."""
    with run.places.open("source") as source:
        theirs = {(e.host, e.port) for e in source.endpoints()}
    ours = {(host, port) for host, given in table.addresses for port in (given, None)}
    if not theirs & ours:
        return None
    return Check("claims", table.resource, ready=False, found="it is at the source", action="keep it anywhere else")


def vault_check(run: Run) -> Iterator[Check]:
    """Whether every worker reads what this machine writes into the vault. After the assets' own preflight."""
    asset = run.plan.assets[0]
    container = vault_container(run.id, run.plan, asset)
    key, word = f"{probe_base('', run.id)}shared", secrets.token_bytes(16)
    with ExitStack() as stack:
        try:
            vault = stack.enter_context(run.places.open("vault"))
            store = stack.enter_context(vault.objects(container))
            store.write(WriteRequest(key, BytesBody(word), Envelope()))
            store.flush()
            client = stack.enter_context(_connected(str(run.plan.engine.address)))
            arguments = (run.plan.to_json(), str(run.base), container, key, word)
            answers = _ask(client, tuple(_workers(client)), lambda _: (read_from_vault, *arguments))
            store.delete(key)
        except ExitdrillError:
            return  # the asset's own check of the vault has said so
        except (OSError, ValueError, RuntimeError) as exc:
            with suppress(ExitdrillError):
                store.delete(key)
            yield Check(
                "cluster", "vault shared", ready=False, found=f"{type(exc).__name__}: {exc}", action="see above"
            )
            return
    said = {
        worker: {"vault": answer.get("vault", ""), "host": answer.get("host", "")} for worker, answer in answers.items()
    }
    joined = _joined("vault", said)
    yield Check("cluster", "vault shared", joined.ready, joined.found, joined.action)
