"""``evidence:`` of a drill: who vouches for a run; what its fields look like and say about one another.

No private key stands in a drill: ``key`` names one, ``pin`` is a reference. Whether the keys are there and sign is
preflight's business.
"""

from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated

from pydantic import Field, StrictInt

from exitdrill.errors import DefinitionError
from exitdrill.plan.drill import Evidence, SigningKey, Timestamps
from exitdrill.plan.durations import parse_duration
from exitdrill.plan.parts import Duration, Name, Part, Text
from exitdrill.plan.problems import KeyPath, Problem, Problems, closest, one_of, quoted, show_path
from exitdrill.plan.secrets import is_reference, malformed
from exitdrill.plan.source import Node

__all__ = ["URL_PATTERN", "EvidenceFile", "check_approvers", "check_evidence", "frozen", "takes_reference"]

URL_PATTERN = r"^https?://[^\s/@?#]+(/[^\s@]*)?$"
"""Of a timestamp authority: without a user or a password, because a plan is shown to others."""

_SIGNERS_MAX = 16
_TIMEOUT_SECONDS = (1.0, 120.0)


class SigningKeyFile(Part):
    """One of ``signers:``."""

    key: Text = Field(
        description="The path of a private key (PEM), a URI (hsm:2?label=TOKEN, awskms:KEY, azurekms:…, gcpkms:…, "
        "hv:…), or a reference to one of them or to the PEM text: ${env:NAME}, ${file:PATH}."
    )
    public: Text | None = Field(None, description="The path of its public half; wanted for a key not in a file.")
    pin: Text | None = Field(None, description="For hsm: a reference to the PIN.")


class TimestampsFile(Part):
    """``timestamps:``."""

    url: Annotated[str, Field(pattern=URL_PATTERN)] = Field(description="A timestamp authority (RFC 3161 over HTTP).")
    root: Text | None = Field(None, description="The path of the certificates its tokens must lead to (PEM).")
    timeout: Duration = Field(
        timedelta(seconds=10), description="How long an answer may take.", json_schema_extra={"default": "10s"}
    )


class EvidenceFile(Part):
    """``evidence:``."""

    signers: Annotated[list[SigningKeyFile], Field(max_length=_SIGNERS_MAX)] = Field(
        default_factory=list, description="Keys that sign; without any, the key of the machine that runs the drill."
    )
    threshold: Annotated[StrictInt, Field(ge=1, le=_SIGNERS_MAX)] = Field(
        1, description="How many of the signers must have signed for the evidence to count."
    )
    timestamps: TimestampsFile | None = Field(None, description="Whose clock vouches for when the evidence was there.")
    approvers: dict[Name, Annotated[list[Text], Field(min_length=1)]] = Field(
        default_factory=dict,
        description="Per step that asks for a person: the paths of the public keys of those who may answer.",
    )


def frozen(file: EvidenceFile) -> Evidence:
    """As the plan has it."""
    stamps = file.timestamps
    return Evidence(
        tuple(SigningKey(signer.key, signer.public, signer.pin) for signer in file.signers),
        file.threshold,
        None if stamps is None else Timestamps(stamps.url, stamps.root, stamps.timeout),
        {step: tuple(paths) for step, paths in file.approvers.items()},
    )


def takes_reference(path: KeyPath) -> bool:
    """Whether a reference in this field of a drill is resolved."""
    return path[:2] == ("evidence", "signers") and path[-1] in ("key", "pin")


@dataclass(frozen=True, slots=True)
class _Report:
    """Adds problems of what is below ``evidence:``."""

    file: str
    problems: Problems

    def at(self, node: Node, path: KeyPath, what: str, expected: str, hint: str = "") -> None:
        where = show_path(("evidence", *path))
        self.problems.add(Problem(self.file, node.line, node.column, where, what, expected, hint))


def check_evidence(file: str, root: Node, problems: Problems) -> None:
    """Check that no secret stands in it, and that the threshold can be reached."""
    evidence = root.at("evidence")
    if evidence is None:
        return
    report = _Report(file, problems)
    signers = evidence.at("signers")
    for index, signer in enumerate(signers.items if signers else []):
        _check_signer(report, index, signer)
    threshold = evidence.at("threshold")
    count = max(1, len(signers.items) if signers else 0)
    if threshold is not None and type(threshold.value) is int and threshold.value > count:
        who = f"{count} signer{'s' if count > 1 else ''}"
        report.at(threshold, ("threshold",), f"found {threshold.value}, and there is only {who}", f"{count} at most")
    _check_timeout(report, evidence)


def _check_signer(report: _Report, index: int, signer: Node) -> None:
    key, pin = signer.at("key"), signer.at("pin")
    if key is not None and key.text is not None:
        path: KeyPath = ("signers", index, "key")
        if "-----BEGIN" in key.text:  # not shown
            report.at(key, path, "a literal secret", "a path, a URI or a reference")
        elif malformed(key.text):
            report.at(key, path, "a '${' that begins no reference", "${env:NAME} or ${file:PATH}")
    if pin is not None and pin.text is not None and not is_reference(pin.text):
        hint = 'write ${env:NAME} or ${file:PATH}; e.g. pin: "${env:HSM_PIN}"'
        report.at(pin, ("signers", index, "pin"), "a literal secret", "a reference", hint)


def _check_timeout(report: _Report, evidence: Node) -> None:
    node = evidence.at("timestamps", "timeout")
    if node is None or node.text is None:
        return
    with suppress(DefinitionError):  # said with the types
        seconds = parse_duration(node.text).total_seconds()
        if not _TIMEOUT_SECONDS[0] <= seconds <= _TIMEOUT_SECONDS[1]:
            hint = "the drill waits so long, once, at its end, for an authority that is silent"
            report.at(node, ("timestamps", "timeout"), node.found(), "1s to 2m", hint)


def check_approvers(file: str, root: Node, playbook: Node, problems: Problems) -> None:
    """Check that each step with approvers is there and asks for a person."""
    approvers = root.at("evidence", "approvers")
    phases = playbook.at("phases")
    groups = [phase.at("steps") for phase in (phases.items if phases else [])]
    asking = []
    for step in [step for group in groups for step in (group.items if group else [])]:
        step_id, approval, uses = step.at("id"), step.at("approval"), step.at("uses")
        asked = (approval is not None and approval.value is True) or (uses is not None and uses.text == "manual")
        if asked and step_id is not None and step_id.text is not None:
            asking.append(step_id.text)
    for name, node in (approvers.map if approvers else {}).items():
        if name not in asking:
            path = show_path(("evidence", "approvers", name))
            what = f"no step {quoted(name)} asks for a person"
            problems.add(
                Problem(file, node.key_line, node.key_column, path, what, one_of(asking), closest(name, asking))
            )
