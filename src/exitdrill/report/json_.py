r"""The report for programs: one JSON document ``{plan_digest, record, verdict, legs}``.

``legs`` is both ways' timing, part of it computed from the record (`exitdrill.report._timing`); null without.

Only ASCII goes out, and ``<`` and DEL as ``\u003c`` and ``\u007f``: hostile keys do nothing on a terminal or
inside a page, and any JSON parser gives them back as they were.
"""

import json
from dataclasses import asdict, dataclass

from pydantic import TypeAdapter

from exitdrill.model.record import RunRecord
from exitdrill.model.verdict import Verdict
from exitdrill.plan.drill import DrillPlan
from exitdrill.report._timing import legs_timing
from exitdrill.report.interface import PLAIN, Options

__all__ = ["JsonReport"]


@dataclass(frozen=True, slots=True)
class JsonReport:
    """See the module."""

    def render(self, plan: DrillPlan, record: RunRecord, verdict: Verdict, options: Options = PLAIN) -> str:  # noqa: ARG002 - the model has no language
        """The document, indented, members in the order of the model."""
        timing = legs_timing(record)
        document = {
            "plan_digest": plan.digest,
            "record": TypeAdapter(RunRecord).dump_python(record, mode="json"),
            "verdict": TypeAdapter(Verdict).dump_python(verdict, mode="json"),
            "legs": None if timing is None else asdict(timing),
        }
        text = json.dumps(document, indent=2, ensure_ascii=True, allow_nan=False)
        return text.replace("<", "\\u003c").replace("\x7f", "\\u007f") + "\n"
