"""Reports: the same facts in several formats, one module each.

What a report says is in `exitdrill.report._content`; a format only draws it. Keys, names and messages from
outside are hostile until a format has made them harmless, and only formats do that.
"""

from exitdrill.errors import UsageError
from exitdrill.model.record import RunRecord
from exitdrill.model.verdict import Verdict
from exitdrill.plan.drill import DrillPlan
from exitdrill.report.csv_ import CsvReport
from exitdrill.report.html_ import HtmlReport
from exitdrill.report.interface import PLAIN, BinaryReport, Options, Report
from exitdrill.report.json_ import JsonReport
from exitdrill.report.language import LANGUAGES, language
from exitdrill.report.markdown import MarkdownReport
from exitdrill.report.oscal import OscalReport
from exitdrill.report.pdf import PdfReport
from exitdrill.report.text import TextReport

__all__ = ["BINARY", "FORMATS", "LANGUAGES", "Options", "Report", "encode", "language", "render"]

_REPORTS: dict[str, Report] = {
    "text": TextReport(),
    "json": JsonReport(),
    "markdown": MarkdownReport(),
    "html": HtmlReport(),
    "csv": CsvReport(),
    "oscal": OscalReport(),
}
_BINARY: dict[str, BinaryReport] = {"pdf": PdfReport()}

FORMATS = tuple(_REPORTS)
"""The names `render` takes."""

BINARY = tuple(_BINARY)
"""The names that only `encode` takes."""


def render(format_: str, plan: DrillPlan, record: RunRecord, verdict: Verdict, options: Options = PLAIN) -> str:
    """The report in one of `FORMATS`, ending in a newline.

    Raises:
        UsageError: There is no such format, or it is one of `BINARY`.
    """
    if format_ in _BINARY:
        raise UsageError(
            f"{format_} is no text", expected=f"one of {', '.join(FORMATS)}", hint="write it to a file: --output FILE"
        )
    if format_ not in _REPORTS:
        raise UsageError(f"no report format {format_!r}", expected=f"one of {', '.join((*FORMATS, *BINARY))}")
    return _REPORTS[format_].render(plan, record, verdict, options)


def encode(format_: str, plan: DrillPlan, record: RunRecord, verdict: Verdict, options: Options = PLAIN) -> bytes:
    """The report in one of `FORMATS` or `BINARY`, as a file holds it.

    Raises:
        UsageError: There is no such format, or it needs what is not installed.
    """
    if format_ in _BINARY:
        return _BINARY[format_].encode(plan, record, verdict, options)
    return render(format_, plan, record, verdict, options).encode("utf-8", "backslashreplace")
