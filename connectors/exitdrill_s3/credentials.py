"""Where the lean lane gets its keys and its region.

Keys in the drill are used as they stand and need no SDK. Without them botocore's own chain finds some, and is
imported only then; it renews temporary ones before they expire.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, TypeVar

from exitdrill.errors import AuthenticationError
from exitdrill_s3.errors import KEYS_HINT
from exitdrill_s3.settings import S3Settings
from exitdrill_s3.signing import Keys

if TYPE_CHECKING:
    from pydantic import SecretStr

__all__ = ["keys_of", "region_of"]

T = TypeVar("T")

_CONFIG = "~/.aws/config"


def keys_of(place: str, settings: S3Settings) -> Callable[[], Keys]:
    """What gives the keys of the moment; safe to use from several threads.

    Raises ImportError where botocore is needed and not installed. What it returns raises AuthenticationError, and
    TransientError where a service that hands out keys does not answer.
    """
    access, secret = settings.access_key_id, settings.secret_access_key
    if access is None or secret is None:
        return _Chain(place)
    keys = Keys(access.get_secret_value(), secret.get_secret_value(), _shown(settings.session_token))
    return lambda: keys


def region_of(place: str, settings: S3Settings, default: str) -> str:
    """The place's region, or what the SDK would take for it.

    Raises AuthenticationError for a profile that does not exist, ImportError where only botocore could tell.
    """
    if settings.region is not None:
        return settings.region
    chained = settings.access_key_id is None
    told = os.environ.get("AWS_DEFAULT_REGION")
    if not chained and (told or not Path(os.environ.get("AWS_CONFIG_FILE", _CONFIG)).expanduser().exists()):
        return told or default
    found: str | None = _asked(place, "opening the place", lambda: _session().get_config_variable("region"))
    return found or default


class _Chain:
    """Keys as botocore finds them: environment, profile, web identity, the machine's own."""

    def __init__(self, place: str) -> None:
        self._place = place
        self._session = _session()
        self._lock = Lock()
        self._found: Any = None

    def __call__(self) -> Keys:
        return _asked(self._place, "getting credentials", self._frozen)

    def _frozen(self) -> Keys:
        found = self._found
        if found is None:
            with self._lock:  # a session is for one thread; what it finds renews itself behind a lock of its own
                found = self._found = self._session.get_credentials()
        frozen = None if found is None else found.get_frozen_credentials()
        if frozen is None or not frozen.access_key or not frozen.secret_key:
            what = "no usable credentials: none were found"
            raise AuthenticationError(what, resource=self._place, hint=f"give the place keys, or set {KEYS_HINT}")
        return Keys(frozen.access_key, frozen.secret_key, frozen.token)


def _session() -> Any:
    import botocore.session

    return botocore.session.Session()


def _asked(place: str, action: str, ask: Callable[[], T]) -> T:
    """Ask botocore; its errors become ours."""
    from botocore.exceptions import BotoCoreError, ClientError

    from exitdrill_s3.sdk_errors import cause_of, translate

    try:
        return ask()
    except (BotoCoreError, ClientError, OSError) as exc:
        raise translate(exc, action, place) from cause_of(exc)


def _shown(secret: SecretStr | None) -> str | None:
    return None if secret is None else secret.get_secret_value()
