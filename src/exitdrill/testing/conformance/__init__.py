"""The suite every connector passes: ours and anybody else's.

Subclass the classes in a test module and supply the fixtures they ask for::

    from exitdrill.testing.conformance import ObjectStoreSuite, fresh_container

    class TestShelf(ObjectStoreSuite):
        @pytest.fixture
        def provider(self, tmp_path):
            with ShelfConnector().open("shelf", ShelfSettings(path=tmp_path / "shelf.db")) as provider:
                yield provider

        @pytest.fixture
        def container(self, provider):
            with fresh_container(provider) as name:
                yield name

`ObjectStoreSuite` needs ``provider`` and ``container``. A place reached over HTTP passes `FaultSuite` (third
fixture ``proxied``: a provider through a `exitdrill.testing.faults.FaultProxy`, and the proxy) and `DeniedSuite`
(third fixture ``denied``) as well; a denied file system can do the latter too. `Suite` says what else can be set.

Rules: no test is skipped. Where a capability is not claimed, the test checks that it is refused.
"""

import pytest

pytest.register_assert_rewrite(
    *(f"{__name__}.{part}" for part in ("_base", "_objects", "_listing", "_envelopes", "_faults"))
)

from exitdrill.testing.conformance._base import (  # noqa: E402 - asserts are rewritten at import
    MIB,
    PatternBody,
    Suite,
    digests_of,
    empty_container,
    fresh_container,
    new_key,
    put,
    put_many,
    temporary_container,
)
from exitdrill.testing.conformance._envelopes import DigestTests, EnvelopeTests  # noqa: E402 - as above
from exitdrill.testing.conformance._faults import DeniedTests, FaultTests  # noqa: E402 - as above
from exitdrill.testing.conformance._listing import KeyTests, ListingTests  # noqa: E402 - as above
from exitdrill.testing.conformance._objects import ContainerTests, ObjectTests  # noqa: E402 - as above

__all__ = [
    "MIB",
    "DeniedSuite",
    "FaultSuite",
    "ObjectStoreSuite",
    "PatternBody",
    "Suite",
    "digests_of",
    "empty_container",
    "fresh_container",
    "new_key",
    "put",
    "put_many",
    "temporary_container",
]


class ObjectStoreSuite(ObjectTests, ContainerTests, ListingTests, KeyTests, EnvelopeTests, DigestTests):
    """Everything an `exitdrill.connector.objects.ObjectStore` promises, without a network in between."""


class FaultSuite(FaultTests):
    """The same place through a network that misbehaves."""


class DeniedSuite(DeniedTests):
    """The same place, access refused."""
