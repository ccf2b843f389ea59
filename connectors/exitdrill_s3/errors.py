"""What S3 reports, in exitdrill's words, whichever lane it came over.

Rules: a `RefusedError` is the cause of the error that says it, so that the service's code can be looked up; texts hold
the service's code and message, never headers. Errors of the SDK's own are left to `exitdrill_s3.sdk_errors`.

Source: S3 API reference, "Error responses".
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from exitdrill.errors import (
    ArchivedError,
    AuthenticationError,
    ChangedError,
    ConflictError,
    ConnectorError,
    DigestError,
    InvalidKeyError,
    NoSpaceError,
    NotFoundError,
    PermissionDeniedError,
    ThrottledError,
    TransientError,
    UnsupportedError,
)

__all__ = ["KEYS_HINT", "RefusedError", "code_of", "date_of", "refused", "short"]

KEYS_HINT = "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (AWS_SESSION_TOKEN for temporary ones), or an AWS_PROFILE"
_REGION = "set the place's region to the bucket's"

_CODES: dict[str, tuple[type[ConnectorError], str]] = {
    **dict.fromkeys(
        ("SignatureDoesNotMatch", "InvalidAccessKeyId", "InvalidSecurity", "MissingSecurityHeader", "NotSignedUp"),
        (AuthenticationError, f"check the place's access_key_id and secret_access_key, or {KEYS_HINT}"),
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
_WRITES = frozenset({"put_object", "complete_multipart_upload", "upload_part", "create_multipart_upload"})
_SERVER_FAULT, _THROTTLE_STATUS, _PRECONDITION_FAILED = 500, frozenset({429, 503}), 412
_MESSAGE_MAX = 300


class RefusedError(Exception):
    """What the service answered instead of doing as it was asked.

    Args:
        code: Its own error code; for an answer without a body (HEAD), the HTTP status as text.
        message: What it says to people.
        status: The HTTP status.
        headers: By lower-case name.
    """

    def __init__(self, code: str, message: str, status: int, headers: Mapping[str, str]) -> None:
        """See the class."""
        super().__init__(f"{code} {_trim(message)}".rstrip())
        self.code, self.status, self.headers = code, status, headers


def refused(refusal: RefusedError, operation: str, resource: str) -> ConnectorError:
    """The error of ours that says what the service's says.

    Args:
        refusal: What it answered; to be the error's cause.
        operation: The client's method.
        resource: What it was about.
    """
    code, status = refusal.code, refusal.status
    text = f"{operation} was refused: {refusal}"
    if code in _THROTTLED or status in _THROTTLE_STATUS:
        return ThrottledError(text, retry_after_seconds=_retry_after(refusal.headers), resource=resource)
    if code == "PreconditionFailed" or status == _PRECONDITION_FAILED:
        if operation in _WRITES:
            return ConflictError(text, resource=resource, expected="no object under this key")
        return ChangedError(text, resource=resource, expected="the version that was listed")
    if code in _CODES:
        kind, hint = _CODES[code]
        return kind(text, resource=resource, expected=_expected(refusal), hint=hint)
    if status in _STATUS:
        return _STATUS[status](text, resource=resource)
    kind = TransientError if status >= _SERVER_FAULT else ConnectorError
    return kind(text, resource=resource)


def _expected(refusal: RefusedError) -> str:
    if refusal.code == "RequestTimeTooSkewed":
        theirs = _date(refusal.headers)
        return f"the server's time, {theirs:%Y-%m-%dT%H:%M:%SZ}" if theirs else ""
    region = refusal.headers.get("x-amz-bucket-region")
    return f"region {_trim(region)}" if region and _CODES[refusal.code][1] == _REGION else ""


def code_of(error: BaseException) -> str:
    """The service's code behind an error of ours; empty if there is none."""
    return error.__cause__.code if isinstance(error.__cause__, RefusedError) else ""


def date_of(answer: Mapping[str, Any] | BaseException) -> datetime | None:
    """The server's clock in an answer, or behind an error of ours; UTC, to the second."""
    if isinstance(answer, BaseException):
        return _date(answer.__cause__.headers) if isinstance(answer.__cause__, RefusedError) else None
    return _date(answer.get("ResponseMetadata", {}).get("HTTPHeaders", {}))


def _date(headers: Mapping[str, str]) -> datetime | None:
    text = headers.get("date")
    return None if text is None else _http_date(str(text))


def _http_date(text: str) -> datetime | None:
    try:
        return parsedate_to_datetime(text).astimezone(UTC)
    except ValueError:
        return None


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds, from either form of RFC 9110, section 10.2.3; a date counts from the answer's own."""
    text = headers.get("retry-after")
    if text is None:
        return None
    if str(text).strip().isdigit():
        return float(text)
    until, now = _http_date(str(text)), _date(headers)
    return None if until is None or now is None else max(0.0, (until - now).total_seconds())


def short(exc: Exception) -> str:
    """An error in one line, of bounded length."""
    return f"{type(exc).__name__}: {_trim(str(exc))}"


def _trim(text: str) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= _MESSAGE_MAX else flat[:_MESSAGE_MAX] + "…"
