"""The results as a table: Markdown, which a terminal shows as well as a page does."""

from collections.abc import Sequence
from pathlib import Path

from bench.results import Results, Summary, summaries

__all__ = ["into_page", "render", "table"]

_BEGIN, _END = "<!-- table: begin -->", "<!-- table: end -->"
_LEGS = {
    "evacuate": "Azure → vault",
    "rebuild": "vault → S3",
    "drill": "whole drill, its phases",
    "command": "whole drill, the command",
}


def table(head: Sequence[str], rows: Sequence[Sequence[str]], texts: int = 1) -> str:
    """A table in Markdown. The first ``texts`` columns are words, the rest numbers."""
    widths = [max(len(row[at]) for row in [head, *rows]) for at in range(len(head))]

    def line(row: Sequence[str]) -> str:
        cells = [c.ljust(w) if at < texts else c.rjust(w) for at, (c, w) in enumerate(zip(row, widths, strict=True))]
        return f"| {' | '.join(cells)} |"

    rule = "|".join(f" {'-' * w} " if at < texts else f" {'-' * (w - 1)}: " for at, w in enumerate(widths))
    return "\n".join([line(head), f"|{rule}|", *map(line, rows)])


def render(results: Results) -> str:
    """The whole report: where and how, the table, what each client was given, who could not take part."""
    found = summaries(results.measures)
    head = ("work", "leg", "client", "objects/s", "MB/s", "median s", "best s", "CPU ms/object", "CPU s/GB", "peak MB")
    rows = [_row(item) for item in found]
    parts = [
        f"Mode {results.mode}. {_facts(results.machine)}.",
        f"{_facts(results.versions)}.",
        f"{_facts(results.settings)}.",
        table((*head, "times rclone"), rows, 3),
        "What each client was given:",
        _given(found),
    ]
    if results.notes:
        parts.append("\n".join(f"- {note}" for note in results.notes))
    return "\n\n".join(parts) + "\n"


def _facts(facts: "object") -> str:
    return ", ".join(f"{name} {value}" for name, value in dict(facts).items())  # type: ignore[call-overload]  # a mapping


def _given(found: Sequence[Summary]) -> str:
    """One line for each way a client was called."""
    where: dict[str, list[str]] = {}
    for item in found:
        far = f" {item.round_trip_ms:g} ms away" if item.round_trip_ms else ""
        where.setdefault(f"{item.client}: {item.detail}", []).append(f"{item.work}{far} {item.leg}")
    return "\n".join(f"- {given} ({', '.join(items)})" for given, items in where.items())


def _work(item: Summary) -> str:
    delay = f", {item.round_trip_ms:g} ms away" if item.round_trip_ms else ""
    return f"{item.work}: {item.objects:,} objects, {item.size_bytes / 1e6:,.0f} MB{delay}"


def _row(item: Summary) -> tuple[str, ...]:
    return (
        _work(item),
        _LEGS[item.leg],
        item.client,
        f"{item.objects / item.median_seconds:,.0f}",
        f"{item.size_bytes / item.median_seconds / 1e6:,.0f}",
        f"{item.median_seconds:.2f}",
        f"{item.best_seconds:.2f}" + (f" of {item.runs}" if item.runs > 1 else ""),
        f"{item.cpu_ms_per_object:.3f}",
        f"{item.cpu_seconds_per_gb:.2f}",
        f"{item.peak_bytes / 1e6:,.0f}" if item.peak_bytes else "",
        f"{item.times_rclone:.2f}" if item.times_rclone is not None else "",
    )


def into_page(page: Path, results: Results) -> None:
    """Write the report between the two marks of a page. Raises ValueError if they are not there."""
    before, begin, rest = page.read_text().partition(_BEGIN)
    _, end, after = rest.partition(_END)
    if not begin or not end:
        raise ValueError(f"{page} has no place for the table: {_BEGIN} … {_END}")
    page.write_text(f"{before}{_BEGIN}\n\n{render(results)}\n{_END}{after}")
