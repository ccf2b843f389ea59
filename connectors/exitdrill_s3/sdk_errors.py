"""What the SDK reports, in exitdrill's words.

Rules: no exception of the SDK leaves this package; an error of ours that the SDK wrapped (the cut, a body that
could not be read) comes out as it went in. Imports botocore: loaded only where the SDK is used.

Source: botocore.exceptions.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from botocore import exceptions as sdk
from botocore.parsers import ResponseParserError

from exitdrill.errors import AuthenticationError, ConnectorError, ExitdrillError, TransientError, UnsupportedError
from exitdrill_s3.errors import KEYS_HINT, RefusedError, refused, short

__all__ = ["cause_of", "translate"]

_NO_CREDENTIALS = (
    sdk.NoCredentialsError,
    sdk.PartialCredentialsError,
    sdk.CredentialRetrievalError,
    sdk.TokenRetrievalError,
    sdk.SSOError,
    sdk.LoginError,
    sdk.ProfileNotFound,
    sdk.InvalidConfigError,
    sdk.ConfigParseError,
)
_BROKEN = (sdk.HTTPClientError, sdk.ConnectionError, sdk.IncompleteReadError, ResponseParserError, OSError)


def translate(exc: Exception, operation: str, resource: str) -> ExitdrillError:
    """The error of ours that says what the SDK's says.

    Args:
        exc: What the SDK raised.
        operation: The client's method.
        resource: What it was about.
    """
    ours = next((link for link in _chain(exc) if isinstance(link, ExitdrillError)), None)
    if ours is not None:
        return ours
    if isinstance(exc, sdk.ClientError):
        return refused(_refusal(exc), operation, resource)
    text = f"{operation} failed: {short(exc)}"
    if isinstance(exc, _NO_CREDENTIALS):
        what = f"no usable credentials: {short(exc)}"
        return AuthenticationError(what, resource=resource, hint=f"give the place keys, or set {KEYS_HINT}")
    if isinstance(exc, sdk.NoRegionError):
        return ConnectorError(text, resource=resource, hint="set the place's region, or AWS_DEFAULT_REGION")
    if isinstance(exc, sdk.ParamValidationError):
        return UnsupportedError(text, resource=resource)
    if isinstance(exc, sdk.SSLError) and "CERTIFICATE_VERIFY_FAILED" in str(exc):
        hint = "set the place's ca_bundle to the authority that signed the server's certificate"
        return ConnectorError(text, resource=resource, hint=hint)
    if type(exc) is sdk.HTTPClientError and isinstance(exc.kwargs.get("error"), ValueError):
        # http.client refuses a header that cannot be sent: a line break, a letter outside Latin-1.
        return UnsupportedError(text, resource=resource)
    if isinstance(exc, _BROKEN):
        return TransientError(text, resource=resource)
    return ConnectorError(text, resource=resource)


def cause_of(exc: Exception) -> Exception:
    """What an error of ours is to be raised from: a `RefusedError` where the service answered, else the SDK's error."""
    if not isinstance(exc, sdk.ClientError):
        return exc
    refusal = _refusal(exc)
    refusal.__cause__ = exc
    return refusal


def _refusal(exc: sdk.ClientError) -> RefusedError:
    answer: Mapping[str, Any] = exc.response
    error, told = answer.get("Error", {}), answer.get("ResponseMetadata", {})
    status = int(told.get("HTTPStatusCode", 0))
    return RefusedError(str(error.get("Code", "")), str(error.get("Message", "")), status, told.get("HTTPHeaders", {}))


def _chain(exc: BaseException) -> Iterator[BaseException]:
    """What the SDK wrapped. Not ``__context__``: that can be an error of ours that was being handled meanwhile."""
    seen: set[int] = set()
    todo: list[BaseException] = [exc]
    while todo:
        link = todo.pop(0)
        if id(link) in seen:
            continue
        seen.add(id(link))
        yield link
        inner = getattr(link, "kwargs", {}).get("error") if isinstance(link, sdk.BotoCoreError) else None
        reason = getattr(link, "reason", None)
        todo += [x for x in (inner, reason, *link.args, link.__cause__) if isinstance(x, BaseException)]
