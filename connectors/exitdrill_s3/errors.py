"""What S3 and its SDK report, in exitdrill's words.

Rules: no exception of the SDK leaves this package; an error of ours that the SDK wrapped (the cut, a body that
could not be read) comes out as it went in; texts hold the service's code and message, never headers.

Source: S3 API reference, "Error responses"; botocore.exceptions.
"""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from botocore import exceptions as sdk
from botocore.parsers import ResponseParserError

from exitdrill.errors import (
    ArchivedError,
    AuthenticationError,
    ChangedError,
    ConflictError,
    ConnectorError,
    DigestError,
    ExitdrillError,
    InvalidKeyError,
    NoSpaceError,
    NotFoundError,
    PermissionDeniedError,
    ThrottledError,
    TransientError,
    UnsupportedError,
)

__all__ = ["code_of", "date_of", "translate"]

_KEYS = "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (AWS_SESSION_TOKEN for temporary ones), or an AWS_PROFILE"
_REGION = "set the place's region to the bucket's"

_CODES: dict[str, tuple[type[ConnectorError], str]] = {
    **dict.fromkeys(
        ("SignatureDoesNotMatch", "InvalidAccessKeyId", "InvalidSecurity", "MissingSecurityHeader", "NotSignedUp"),
        (AuthenticationError, f"check the place's access_key_id and secret_access_key, or {_KEYS}"),
    ),
    **dict.fromkeys(
        ("ExpiredToken", "InvalidToken", "TokenRefreshRequired", "RequestExpired"),
        (AuthenticationError, "the temporary credentials have expired: get new ones and set AWS_SESSION_TOKEN"),
    ),
    "RequestTimeTooSkewed": (AuthenticationError, "this machine's clock is wrong: signatures hold for 15 minutes"),
    "AuthorizationHeaderMalformed": (AuthenticationError, _REGION),
    **dict.fromkeys(("PermanentRedirect", "IllegalLocationConstraintException", "301"), (ConnectorError, _REGION)),
    **dict.fromkeys(("AccessDenied", "AllAccessDisabled", "AccountProblem"), (PermissionDeniedError, "")),
    **dict.fromkeys(("NoSuchKey", "NoSuchBucket", "NoSuchVersion", "NoSuchUpload"), (NotFoundError, "")),
    **dict.fromkeys(
        ("BadDigest", "InvalidDigest", "XAmzContentChecksumMismatch", "XAmzContentSHA256Mismatch"), (DigestError, "")
    ),
    **dict.fromkeys(
        ("KeyTooLongError", "InvalidURI", "XMinioInvalidObjectName", "XMinioParentIsObject"), (InvalidKeyError, "")
    ),
    **dict.fromkeys(
        (
            "EntityTooLarge",
            "QuotaExceeded",
            "InsufficientStorage",
            "XMinioStorageFull",
            "XMinioAdminBucketQuotaExceeded",
            "TooManyBuckets",
        ),
        (NoSpaceError, "free room there or raise the quota"),
    ),
    "InvalidObjectState": (ArchivedError, ""),
    **dict.fromkeys(("BucketAlreadyExists", "BucketAlreadyOwnedByYou", "BucketNotEmpty"), (ConflictError, "")),
    # A write beside ours is still being decided: the service asks for another try.
    **dict.fromkeys(("ConditionalRequestConflict", "OperationAborted"), (TransientError, "")),
    **dict.fromkeys(
        ("InternalError", "RequestTimeout", "RequestTimeoutException", "IncompleteBody", "ServerBusy"),
        (TransientError, ""),
    ),
    **dict.fromkeys(
        (
            "NotImplemented",
            "MethodNotAllowed",
            "InvalidBucketName",
            "InvalidStorageClass",
            "InvalidLocationConstraint",
            "EntityTooSmall",
            "InvalidTag",
            "MetadataTooLarge",
        ),
        (UnsupportedError, ""),
    ),
}
_STATUS: dict[int, type[ConnectorError]] = {
    401: AuthenticationError,
    403: PermissionDeniedError,
    404: NotFoundError,
    408: TransientError,
    409: ConflictError,
    501: UnsupportedError,
    507: NoSpaceError,
}
_THROTTLED = frozenset(
    {
        "BandwidthLimitExceeded",
        "RequestLimitExceeded",
        "RequestThrottled",
        "ServiceUnavailable",
        "SlowDown",
        "SlowDownRead",
        "SlowDownWrite",
        "Throttling",
        "ThrottlingException",
        "TooManyRequests",
    }
)
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
_WRITES = frozenset({"put_object", "complete_multipart_upload", "upload_part", "create_multipart_upload"})
_SERVER_FAULT, _THROTTLE_STATUS, _PRECONDITION_FAILED = 500, frozenset({429, 503}), 412
_MESSAGE_MAX = 300


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
        return _service(exc, operation, resource)
    text = f"{operation} failed: {_short(exc)}"
    if isinstance(exc, _NO_CREDENTIALS):
        what = f"no usable credentials: {_short(exc)}"
        return AuthenticationError(what, resource=resource, hint=f"give the place keys, or set {_KEYS}")
    if isinstance(exc, sdk.NoRegionError):
        return ConnectorError(text, resource=resource, hint="set the place's region, or AWS_REGION")
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


def _service(exc: sdk.ClientError, operation: str, resource: str) -> ConnectorError:
    answer: Mapping[str, Any] = exc.response
    code, status = code_of(exc), int(answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    message = str(answer.get("Error", {}).get("Message", ""))
    text = f"{operation} was refused: {code} {_trim(message)}".rstrip()
    if code in _THROTTLED or status in _THROTTLE_STATUS:
        return ThrottledError(text, retry_after_seconds=_retry_after(answer), resource=resource)
    if code == "PreconditionFailed" or status == _PRECONDITION_FAILED:
        if operation in _WRITES:
            return ConflictError(text, resource=resource, expected="no object under this key")
        return ChangedError(text, resource=resource, expected="the version that was listed")
    if code in _CODES:
        kind, hint = _CODES[code]
        theirs = date_of(answer)
        expected = (
            f"the server's time, {theirs:%Y-%m-%dT%H:%M:%SZ}" if code == "RequestTimeTooSkewed" and theirs else ""
        )
        return kind(text, resource=resource, expected=expected, hint=hint)
    if status in _STATUS:
        return _STATUS[status](text, resource=resource)
    kind = TransientError if status >= _SERVER_FAULT else ConnectorError
    return kind(text, resource=resource)


def code_of(exc: sdk.ClientError) -> str:
    """The service's error code; for an answer without a body (HEAD), its HTTP status as text."""
    return str(exc.response.get("Error", {}).get("Code", ""))


def date_of(answer: Mapping[str, Any]) -> datetime | None:
    """The server's clock in an answer or in an error's answer; UTC, to the second."""
    text = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date")
    return None if text is None else _http_date(str(text))


def _http_date(text: str) -> datetime | None:
    try:
        return parsedate_to_datetime(text).astimezone(UTC)
    except ValueError:
        return None


def _retry_after(answer: Mapping[str, Any]) -> float | None:
    """Seconds, from either form of RFC 9110, section 10.2.3; a date counts from the answer's own."""
    text = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("retry-after")
    if text is None:
        return None
    if str(text).strip().isdigit():
        return float(text)
    until, now = _http_date(str(text)), date_of(answer)
    return None if until is None or now is None else max(0.0, (until - now).total_seconds())


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


def _short(exc: Exception) -> str:
    return f"{type(exc).__name__}: {_trim(str(exc))}"


def _trim(text: str) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= _MESSAGE_MAX else flat[:_MESSAGE_MAX] + "…"
