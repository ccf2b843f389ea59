"""Reports: the same facts in several formats, one module each.

What a report says is in `exitdrill.report._content`; a format only draws it. Keys, names and messages from
outside are hostile until a format has made them harmless, and only formats do that.
"""

from exitdrill.errors import UsageError
from exitdrill.model.record import RunRecord
from exitdrill.model.verdict import Verdict
from exitdrill.plan.drill import DrillPlan
from exitdrill.report.interface import Report
from exitdrill.report.json_ import JsonReport
from exitdrill.report.markdown import MarkdownReport
from exitdrill.report.text import TextReport

__all__ = ["FORMATS", "Report", "render"]

_REPORTS: dict[str, Report] = {"text": TextReport(), "json": JsonReport(), "markdown": MarkdownReport()}

FORMATS = tuple(_REPORTS)
"""The names `render` takes."""


def render(format_: str, plan: DrillPlan, record: RunRecord, verdict: Verdict) -> str:
    """The report in one of `FORMATS`, ending in a newline.

    Raises:
        UsageError: There is no such format.
    """
    if format_ not in _REPORTS:
        raise UsageError(f"no report format {format_!r}", expected=f"one of {', '.join(FORMATS)}")
    return _REPORTS[format_].render(plan, record, verdict)
