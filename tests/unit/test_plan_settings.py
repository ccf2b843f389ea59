"""Settings of places against their connectors' models: names, literals, references and secrets."""

from pathlib import Path
from typing import Annotated, Literal

import pytest
from pydantic import AliasGenerator, BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator

from exitdrill.plan.problems import Problems
from exitdrill.plan.settings import check_settings
from exitdrill.plan.source import read


class Login(BaseModel):
    model_config = ConfigDict(extra="forbid")

    user: str = ""
    password: SecretStr | None = None


class Settings(BaseModel):
    """Every shape a secret can have."""

    model_config = ConfigDict(extra="forbid", alias_generator=AliasGenerator(alias=lambda n: n.replace("_", "-")))

    account: str
    endpoint: str | None = None
    region: str | None = None
    page_size: Annotated[int, Field(ge=1)] = 10
    mode: Literal["a", "b"] = "a"
    key: SecretStr | None = None
    login: Login | None = None
    tokens: list[SecretStr] = []
    by_name: dict[str, SecretStr] = {}
    either: Annotated[int | SecretStr | None, Field()] = None

    @field_validator("endpoint")
    @classmethod
    def _url(cls, value: str | None) -> str | None:
        if value and not value.startswith("https://"):
            raise ValueError(f"{value} is no https address")
        return value

    @model_validator(mode="after")
    def _together(self) -> "Settings":
        if self.key and self.login:
            raise ValueError("both key and login are given")
        if self.endpoint and self.account not in self.endpoint:
            raise ValueError("the endpoint is another account's")
        return self


_FIELDS = (
    "account, by-name, certifications, connector, either, emulator, endpoint, jurisdiction, key, legal_entity, limits, "
    "login, mode, ownership, page-size, region, seal, seed, tokens"
)


def check(folder: Path, text: str, *, emulated: bool = False) -> list[str]:
    path = folder / "x.yaml"
    path.write_text("connector: made-up\n" + text)
    problems = Problems()
    root = read(path, "x", problems)
    assert root is not None
    check_settings("x", root, ("places", "p"), Settings, problems, emulated=emulated)
    return [str(problem) for problem in problems]


@pytest.mark.parametrize(
    "text",
    [
        "account: a",
        "account: ${env:A}\npage-size: ${env:N}\nmode: ${env:M}\nendpoint: ${env:E}",
        "account: a\nendpoint: http${env:S}://x",  # may turn out to be https
        "account: a\nendpoint: https://${env:HOST}/",  # a rule on both fields cannot be judged yet
        "account: a\nkey: ${env:K}",
        "account: a\nkey:",
        "account: a\nkey: ~",
        "account: a\nlogin: {user: '${env:U}', password: '${file:secrets/p w}'}",
        "account: a\ntokens: ['${env:A}', '${file:b}']\nby-name: {x: '${env:B}'}\neither: ${env:C}",
    ],
)
def test_references_are_let_through(tmp_path: Path, text: str) -> None:
    """A value that is not known yet is no problem, whatever its type."""
    if text.endswith("~"):
        assert check(tmp_path, text) == [
            (
                "x:3:6: places.p.key: a literal secret; expected a reference "
                '(write ${env:NAME} or ${file:PATH}; e.g. key: "${env:P_KEY}")'
            )
        ]
        return
    assert check(tmp_path, text) == []


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("key: {}", "key"),
        ("key: prefix-{}", "key"),
        ("key: ${{env:K}}{}", "key"),
        ("login: {{user: u, password: {}}}", "login.password"),
        ("tokens: [{}]", "tokens[0]"),
        ("by-name: {{x: {}}}", "by-name.x"),
        ("either: {}", "either"),
        ("endpoint: x{0}\nkey: {0}", "key"),  # the validator's own message repeats what it was given
    ],
)
@pytest.mark.parametrize("value", ["hunter2", "12345678"])
def test_a_literal_secret_is_refused_and_never_shown(tmp_path: Path, text: str, path: str, value: str) -> None:
    """Text or number, alone or beside a reference, at any depth."""
    found = check(tmp_path, "account: a\n" + text.format(value))
    secret = [line for line in found if f" places.p.{path}: " in line]
    assert len(secret) == 1
    assert " a literal secret; expected a reference (write ${env:NAME} or ${file:PATH}; " in secret[0]
    if not text.startswith("endpoint"):
        assert found == secret
    assert value not in "\n".join(found)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "acount: a",
            [
                "x:1:1: places.p.account: missing",
                (f"x:2:1: places.p.acount: unknown field; expected one of {_FIELDS} (did you mean 'account'?)"),
            ],
        ),
        (
            "account: a\nkye: hunter2",
            [(f"x:3:1: places.p.kye: unknown field; expected one of {_FIELDS} (did you mean 'key'?)")],
        ),
        (
            "account: a\nemulater: azurite",
            [(f"x:3:1: places.p.emulater: unknown field; expected one of {_FIELDS} (did you mean 'emulator'?)")],
        ),
        (
            "account: a\nlogin: {usr: x}",
            ["x:3:9: places.p.login.usr: unknown field; expected one of password, user (did you mean 'user'?)"],
        ),
        ("account: 5", ['x:2:10: places.p.account: found the number 5; expected text (write "5" in quotes)']),
        ("account: a\npage-size: 0", ["x:3:12: places.p.page-size: found the number 0; expected 1 or more"]),
        ("account: a\npage-size: many", ["x:3:12: places.p.page-size: found 'many'; expected a whole number"]),
        ("account: a\nmode: c", ["x:3:7: places.p.mode: found 'c'; expected one of a, b"]),
        ("account: a\nlogin: x", ["x:3:8: places.p.login: found something else; expected a map"]),
        (
            "account: a\nkey: [hunter2]",
            [
                (
                    "x:3:7: places.p.key[0]: a literal secret; expected a reference (write ${env:NAME} or "
                    "${file:PATH}; "
                    'e.g. 0: "${env:P_KEY_0}")'
                ),
                "x:3:6: places.p.key: found something else; expected text",
            ],
        ),
        (
            'account: a\nkey: {"b\\nc": hunter2}',
            [
                (
                    "x:3:15: places.p.key['b\\nc']: a literal secret; expected a reference (write ${env:NAME} or "
                    "${file:PATH}; e.g. ['b\\nc']: \"${env:P_KEY_B_C}\")"
                ),
                "x:3:6: places.p.key: found something else; expected text",
            ],
        ),
        (
            "account: a\nendpoint: ftp://u:p@h/x?sig=s",
            ["x:3:11: places.p.endpoint: found 'ftp://…@h/x?…': ftp://…@h/x?… is no https address"],
        ),
        ("account: a\nendpoint: https://b/", ["x:1:1: places.p: the endpoint is another account's"]),
        ("account: a\nkey: ${env:K}\nlogin: {user: u}", ["x:1:1: places.p: both key and login are given"]),
        (
            "account: a\nkey: ${env:K}\nlogin: {user: u}\nregion: ${env:E}",
            ["x:1:1: places.p: both key and login are given"],
        ),
        (
            "account: a\nendpoint: ${AZURE}",
            [
                "x:3:11: places.p.endpoint: a '${' that begins no reference; expected ${env:NAME} or ${file:PATH}",
                "x:3:11: places.p.endpoint: found '${AZURE}': ${AZURE} is no https address",
            ],
        ),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, said: list[str]) -> None:
    """Names and literal values are checked against the connector's model before anything runs."""
    assert sorted(check(tmp_path, text)) == sorted(said)


def test_an_emulator_supplies_what_is_missing(tmp_path: Path) -> None:
    """Required settings may be left out; what is given is checked all the same."""
    assert check(tmp_path, "page-size: 5", emulated=True) == []
    assert check(tmp_path, "account: a\nkey: ${env:K}\nlogin: {user: u}", emulated=True) == []
    assert check(tmp_path, "page-size: many", emulated=True) == [
        "x:2:12: places.p.page-size: found 'many'; expected a whole number"
    ]
