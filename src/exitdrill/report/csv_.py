"""The exceptions of a run as CSV (RFC 4180), for a spreadsheet: one row an object that did not go the plain way.

Rules. No cell can be taken for a formula: one that begins like one gets an apostrophe before it, as does one that
begins with an apostrophe, so that it can be taken off again. What cannot be seen is written out as everywhere
(`safe`), so no cell has a line break. Names and words are the record's, in no other language.
"""

import csv
import io
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass

from exitdrill.model.human import safe
from exitdrill.model.record import RunRecord
from exitdrill.model.verdict import Verdict
from exitdrill.plan.drill import DrillPlan
from exitdrill.report.interface import PLAIN, Options

__all__ = ["CsvReport"]

_HEADERS = ("run", "asset", "number", "of", "key", "problem", "where", "detail")
_STARTS = ("=", "+", "-", "@", "'", "|", "%")
"""What a spreadsheet, or what it hands a cell to, may take for the beginning of something to carry out."""


@dataclass(frozen=True, slots=True)
class CsvReport:
    """See the module."""

    def render(
        self,
        plan: DrillPlan,  # noqa: ARG002 - the record has the exceptions
        record: RunRecord,
        verdict: Verdict,  # noqa: ARG002 - as above
        options: Options = PLAIN,  # noqa: ARG002 - as above
    ) -> str:
        """The exceptions that the record names; ``of`` says how many there are of the asset."""
        out = io.StringIO()
        writer = csv.writer(out, quoting=csv.QUOTE_ALL, lineterminator="\r\n")
        writer.writerow(_HEADERS)
        for row in _rows(record):
            writer.writerow([_cell(value) for value in row])
        return out.getvalue()


def _rows(record: RunRecord) -> Iterator[tuple[str, ...]]:
    for asset in record.assets:
        total = str(max(asset.exceptions_total, len(asset.exceptions)))
        for number, mishap in enumerate(asset.exceptions, 1):
            yield (
                record.run_id, asset.name, str(number), total, mishap.key, mishap.problem, mishap.where, mishap.detail
            )  # fmt: skip


def _cell(text: str) -> str:
    shown = safe(text)
    begins = unicodedata.normalize("NFKC", shown[:1])
    return f"'{shown}" if begins.startswith(_STARTS) or shown.lstrip(" ").startswith(_STARTS) else shown
