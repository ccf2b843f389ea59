"""What fields of definition files are made of: names, texts, durations, dates, and the rule against unknown ones."""

from collections.abc import Callable
from datetime import date, timedelta
from typing import Annotated, Any, TypeVar, cast

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

from exitdrill.errors import DefinitionError
from exitdrill.plan.dates import PATTERN as DATE_PATTERN
from exitdrill.plan.dates import parse_date
from exitdrill.plan.durations import PATTERN, parse_duration

__all__ = ["NAME_PATTERN", "Date", "Duration", "Name", "Part", "Text", "parsed"]

NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$"
"""Names become names of files and folders of a run."""

_T = TypeVar("_T")


def parsed(kind: str, parse: Callable[[str], _T]) -> Callable[[object], _T]:
    """A validator for text that a parser of this package reads; ``kind`` is the error's, as `explain` knows it."""

    def validate(value: object) -> _T:
        try:
            return parse(value if isinstance(value, str) else "")
        except DefinitionError as error:
            raise PydanticCustomError(cast("Any", kind), "no such text", {"expected": error.expected}) from error

    return validate


Name = Annotated[str, Field(pattern=NAME_PATTERN)]
Text = Annotated[str, Field(pattern=r"\S")]
Duration = Annotated[
    timedelta,
    BeforeValidator(parsed("duration", parse_duration)),
    WithJsonSchema({"type": "string", "pattern": PATTERN, "examples": ["24h", "90m", "1h30m", "7d", "PT4H"]}),
]
Date = Annotated[
    date,
    BeforeValidator(parsed("date", parse_date)),
    WithJsonSchema({"type": "string", "format": "date", "pattern": DATE_PATTERN, "examples": ["2027-03-31"]}),
]


class Part(BaseModel):
    """A map of a definition file."""

    model_config = ConfigDict(extra="forbid", frozen=True)
