"""What Azure's answers and its SDK's exceptions mean in exitdrill's terms.

Rules: the service's error code decides, then the status
(https://learn.microsoft.com/rest/api/storageservices/blob-service-error-codes). Messages carry the code and
the request id, never a URL: a shared access signature stands in it. The cause is kept, redacted.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from ssl import SSLCertVerificationError
from xml.etree.ElementTree import ParseError
from xml.etree.ElementTree import fromstring as parse_xml

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
    ReadOnlyError,
    ThrottledError,
    TransientError,
    UnsupportedError,
)
from exitdrill_azure.client import Answer

__all__ = ["error_code", "from_exception", "from_response", "redact", "redact_text"]

_AUTHENTICATION_HINT = "check account and key or sas of this place, and this machine's clock"

_BY_CODE: Mapping[str, type[ConnectorError]] = {
    "AccountBeingCreated": TransientError,
    "AccountIsDisabled": PermissionDeniedError,
    "AuthenticationFailed": AuthenticationError,
    "AuthorizationFailure": PermissionDeniedError,
    "BlobAlreadyExists": ConflictError,
    "BlobArchived": ArchivedError,
    "BlobBeingRehydrated": ArchivedError,
    "BlobImmutableDueToPolicy": ReadOnlyError,
    "BlobNotFound": NotFoundError,
    "ConditionNotMet": ChangedError,
    "ContainerBeingDeleted": TransientError,
    "ContainerBeingDisabled": TransientError,
    "ContainerNotFound": NotFoundError,
    "ContainerQuotaDownloadFailed": NoSpaceError,
    "Crc64Mismatch": DigestError,
    "FeatureNotSupportedForAccount": UnsupportedError,
    "InsufficientAccountPermissions": PermissionDeniedError,
    "InvalidAuthenticationInfo": AuthenticationError,
    "InvalidResourceName": InvalidKeyError,
    "InvalidUri": InvalidKeyError,
    "OutOfRangeInput": InvalidKeyError,
    "LeaseIdMissing": ConflictError,
    "Md5Mismatch": DigestError,
    "NoAuthenticationInformation": AuthenticationError,
    "OperationTimedOut": TransientError,
    "PendingCopyOperation": ConflictError,
    "ReadOnlyAccount": ReadOnlyError,
    "RequestBodyTooLarge": UnsupportedError,
    "RequestUrlFailedToParse": InvalidKeyError,
    "ResourceNotFound": NotFoundError,
    "ServerBusy": ThrottledError,
    "TargetConditionNotMet": ChangedError,
    "UnauthorizedBlobOverwrite": ConflictError,
}

_BY_STATUS: Mapping[int, type[ConnectorError]] = {
    401: AuthenticationError,
    403: PermissionDeniedError,
    404: NotFoundError,
    408: TransientError,
    409: ConflictError,
    412: ChangedError,
    429: ThrottledError,
    501: UnsupportedError,
    503: ThrottledError,
    505: UnsupportedError,
    507: NoSpaceError,
}


def error_code(answer: Answer) -> str:
    """The service's error code, from the header or the body; empty if it gave none."""
    code = answer.headers.get("x-ms-error-code", "")
    if code:
        return str(code)
    try:
        return parse_xml(answer.content).findtext("Code", "")  # noqa: S314 - expat bounds entity expansion
    except (ParseError, LookupError):
        return ""  # a proxy's page, or a HEAD: the status says the rest


def from_response(answer: Answer, action: str, resource: str, *, missing: str = "") -> ConnectorError:
    """The error an answer with a refusing status means.

    Args:
        answer: It.
        action: What was tried, as an infinitive: ``read the blob``.
        resource: What on.
        missing: How a message names a container that is not there.
    """
    code, status = error_code(answer), answer.status
    what = f"could not {action}: {code or 'no error code'}, status {status}{_request_id(answer)}"
    cls = _BY_CODE.get(code) or _BY_STATUS.get(status)
    if code == "AuthorizationFailure" and answer.headers.get("Server", "").startswith("Azurite"):
        cls = AuthenticationError  # its answer to a wrong signature; Azure says AuthenticationFailed
    if cls is None:
        cls = TransientError if status >= 500 else ConnectorError  # noqa: PLR2004 - the server's own faults
    if cls is ThrottledError:
        return ThrottledError(what, retry_after_seconds=_retry_after(answer), resource=resource)
    if code == "ContainerNotFound" or (cls is NotFoundError and missing and code in {"", "ResourceNotFound"}):
        return NotFoundError(f"{missing or 'the container'} does not exist ({what})", resource=resource)
    hint = ""
    if cls is AuthenticationError:
        hint = _AUTHENTICATION_HINT
    elif cls is PermissionDeniedError:
        hint = "the credentials lack this right, or a firewall rule of the account refuses this machine"
    elif code == "LeaseIdMissing":
        hint = "somebody holds a lease on it"
    return cls(what, resource=resource, hint=hint)


def from_exception(exc: Exception, action: str, resource: str) -> ConnectorError:
    """The error an exception of the SDK means. The caller raises it from `redact`'s copy of the exception."""
    from azure.core.exceptions import ClientAuthenticationError  # whoever has one of its exceptions has loaded it

    kind = type(exc).__name__
    if isinstance(exc, ClientAuthenticationError):
        return AuthenticationError(
            f"could not {action}: no credential was accepted ({kind})",
            resource=resource,
            hint="give key or sas, or set AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_CLIENT_SECRET, or run az login",
        )
    root = _root_cause(exc)
    what = f"could not {action}: {kind}, {type(root).__name__}"
    if isinstance(root, SSLCertVerificationError):
        hint = "name the certificates to trust in ca_bundle, or find out who answers there"
        return ConnectorError(f"{what}: {root.verify_message}", resource=resource, hint=hint)
    return TransientError(what, resource=resource)


def redact(exc: BaseException) -> BaseException:
    """A copy of an exception without signatures and without causes that might hold one."""
    return RuntimeError(f"{type(exc).__module__}.{type(exc).__qualname__}: {redact_text(str(exc))}")


def redact_text(text: str) -> str:
    """The text without shared access signatures."""
    return _SIGNATURE.sub(r"\1REDACTED", text)


_SIGNATURE = re.compile(r"(\bsig=)[^&\s'\")]+", re.IGNORECASE)


def _root_cause(exc: BaseException) -> BaseException:
    """The innermost exception: ``ConnectionRefusedError`` says more than three wrappers around it."""
    seen: list[BaseException] = []
    todo: list[object] = [exc]
    while todo:
        found = todo.pop(0)
        if isinstance(found, BaseException) and not any(found is other for other in seen):
            seen.append(found)
            todo += [getattr(found, name, None) for name in ("inner_exception", "reason", "__cause__", "__context__")]
            todo += found.args
    return seen[-1]


def _request_id(answer: Answer) -> str:
    found = answer.headers.get("x-ms-request-id")
    return f", request {found}" if found else ""


def _retry_after(answer: Answer) -> float | None:
    """RFC 9110, section 10.2.3: seconds or a date."""
    text = answer.headers.get("Retry-After", "").strip()
    if text.isdecimal():
        return float(text)
    try:
        moment = parsedate_to_datetime(text)
        now = parsedate_to_datetime(answer.headers.get("Date", ""))
    except ValueError:
        return None
    return max(0.0, (_aware(moment) - _aware(now)).total_seconds())


def _aware(moment: datetime) -> datetime:
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
