"""Envelopes and digests: what is claimed comes back, what is not is named as lost."""

import gzip
from datetime import UTC, datetime

import pytest

from exitdrill.connector.objects import BytesBody, ObjectStore, WriteRequest
from exitdrill.errors import DigestError, NotFoundError
from exitdrill.model.digests import ALL_KINDS, Comparison, DigestKind, Digests
from exitdrill.model.objects import Envelope, Loss, pairs
from exitdrill.testing.conformance._base import PatternBody, Suite, digests_of, new_key, put

__all__ = ["DigestTests", "EnvelopeTests"]

_PLAIN = Envelope(
    content_type="application/vnd.case+json; charset=utf-8",
    content_language="nl-NL",
    content_disposition='attachment; filename="dossier 7.json"',
    cache_control="private, max-age=60",
    user=pairs({"owner": "records", "retention_years": "7"}),
)
_AWKWARD = Envelope(
    content_type="text/plain",
    user=pairs(
        {
            "MixedCase": "Kept As It Is",
            "with-hyphen": "1",
            "with_underscore": "2",
            "unicode": "caf\u00e9 \U0001f680",
            "empty": "",
            "symbols": "a=b; c,d \"e\" 'f' %20 +",
            "long": "x" * 500,
        }
    ),
    tags=pairs({"class": "sensitive", "year": "2031"}),
    created=datetime(2019, 5, 4, 12, 30, tzinfo=UTC),
)


class EnvelopeTests(Suite):
    """The envelope round trip. Compared is what `EnvelopeRule.split` promises with what comes back."""

    @pytest.mark.parametrize("envelope", [Envelope(), _PLAIN, _AWKWARD], ids=["none", "plain", "awkward"])
    def test_the_envelope_comes_back(self, store: ObjectStore, envelope: Envelope) -> None:
        """What is kept is kept exactly; everything that does not come back is named as a loss, and nothing else."""
        key = new_key()
        receipt = put(store, key, b"bytes", envelope)
        kept, losses = store.capabilities.envelope.split(envelope)
        assert receipt.losses == losses
        back = store.stat(key).envelope
        assert back is not None, "stat carries the envelope"
        assert _difference(kept, back, store.capabilities.envelope.created) == []
        assert {loss.field for loss in losses} >= _gone(envelope, back)
        with store.read(key) as stream:
            if stream.entry.envelope is not None:
                assert stream.entry.envelope.user == back.user
                assert stream.entry.envelope.content_type == back.content_type

    def test_an_encoding_is_a_label(self, store: ObjectStore) -> None:
        """Bytes stored as gzip come back as stored, with their label: nobody decompresses on the way."""
        key, data = new_key(), gzip.compress(b"dossier " * 1000, mtime=0)
        receipt = put(store, key, data, Envelope(content_type="text/plain", content_encoding="gzip"))
        with store.read(key) as stream:
            assert stream.entry.size == len(data)
            assert stream.read_all() == data
        back = store.stat(key).envelope
        assert back is not None
        if "content_encoding" in store.capabilities.envelope.headers:
            assert back.content_encoding == "gzip"
            assert receipt.losses == ()
        else:
            assert receipt.losses == (Loss("content_encoding", "gzip", receipt.losses[0].reason),)

    def test_no_encoding_is_invented(self, store: ObjectStore) -> None:
        """What the transport used (``aws-chunked``) is not stored as the object's encoding."""
        for body in (PatternBody(10), PatternBody(self.large_bytes)):
            key = new_key()
            store.write(WriteRequest(key, body, digests=body.digests()))
            back = store.stat(key).envelope
            assert back is not None
            assert back.content_encoding is None

    def test_an_overwrite_forgets_the_old_envelope(self, store: ObjectStore) -> None:
        """Metadata and tags belong to a version, not to a key."""
        key = new_key()
        put(store, key, b"one", _AWKWARD)
        put(store, key, b"two", Envelope(user=pairs({"owner": "new"})))
        back = store.stat(key).envelope
        assert back is not None
        kept, _ = store.capabilities.envelope.split(Envelope(user=pairs({"owner": "new"})))
        assert back.user == kept.user
        assert back.tags == ()
        assert back.cache_control is None

    def test_metadata_too_large_is_declared(self, store: ObjectStore) -> None:
        """User metadata over the limit is written as far as it goes, and the rest is a loss."""
        limit = store.capabilities.envelope.user_max_bytes
        many = {f"name{number}": "v" * 400 for number in range(min(40, limit // 400 + 3))}
        key, envelope = new_key(), Envelope(user=pairs(many))
        receipt = put(store, key, b"x", envelope)
        kept, losses = store.capabilities.envelope.split(envelope)
        back = store.stat(key).envelope
        assert back is not None
        assert back.user == kept.user
        assert receipt.losses == losses
        assert len(kept.user) + len(losses) >= len(many)


def _difference(kept: Envelope, back: Envelope, created: bool) -> list[str]:
    """What came back otherwise than it was sent. A place may add a content type of its own."""
    out = []
    for name in Envelope.HEADERS:
        sent, got = getattr(kept, name), getattr(back, name)
        if sent != got and not (name == "content_type" and sent is None):
            out.append(f"{name}: sent {sent!r}, back {got!r}")
    for name, sent, got in (("user", kept.user, back.user), ("tags", kept.tags, back.tags)):
        if sorted(sent) != sorted(got):
            out.append(f"{name}: sent {sent!r}, back {got!r}")
    if created and kept.created != back.created:
        out.append(f"created: sent {kept.created}, back {back.created}")
    return out


def _gone(sent: Envelope, back: Envelope) -> set[str]:
    """The fields of an envelope that did not come back as they were, by the names losses carry."""
    gone = {name for name in Envelope.HEADERS if getattr(sent, name) not in (None, getattr(back, name))}
    gone |= {f"user.{name}" for name, value in sent.user if (name, value) not in back.user}
    gone |= {f"tags.{name}" for name, value in sent.tags if (name, value) not in back.tags}
    return gone | ({"created"} if sent.created not in (None, back.created) else set())


class DigestTests(Suite):
    """Digests: attested ones are the server's own and right; wrong ones are refused where that is claimed."""

    def test_claimed_digests_are_reported(self, store: ObjectStore) -> None:
        """Every kind in ``attests`` is reported for an object written in one request, and is right."""
        key, data = new_key(), b"attested " * 1000
        receipt = put(store, key, data)
        facts = store.stat(key)
        assert store.capabilities.attests <= facts.digests.kinds
        assert facts.digests == digests_of(data).only(facts.digests.kinds)
        assert receipt.entry.digests == digests_of(data).only(receipt.entry.digests.kinds)

    def test_claimed_digests_of_the_empty_object(self, store: ObjectStore) -> None:
        """The empty object has digests too, and absent ones are absent, not empty."""
        key = new_key()
        put(store, key, b"")
        facts = store.stat(key)
        assert facts.digests.compare(digests_of(b"")) is not Comparison.DIFFERENT
        assert store.capabilities.attests <= facts.digests.kinds

    def test_claimed_digests_of_an_object_in_parts(self, store: ObjectStore) -> None:
        """Whatever is reported for an object in parts is about the whole of it, never about its parts."""
        key, body = new_key("parts"), PatternBody(self.large_bytes)
        ours = body.digests()
        receipt = store.write(WriteRequest(key, body, digests=ours))
        facts = store.stat(key)
        assert store.capabilities.multipart_attests <= facts.digests.kinds
        for entry in (facts, receipt.entry):
            assert entry.digests == ours.only(entry.digests.kinds), "a composite digest passed for one of the whole"

    @pytest.mark.parametrize("kind", sorted(ALL_KINDS))
    def test_wrong_digests(self, store: ObjectStore, kind: DigestKind) -> None:
        """Claimed: bytes with a wrong digest are refused. Not claimed: they are never vouched for as that digest."""
        key, data = new_key(), b"the bytes that were sent"
        wrong = digests_of(b"other bytes").only({kind})
        request = WriteRequest(key, BytesBody(data), digests=wrong)
        if kind in store.capabilities.refuses_wrong:
            with pytest.raises(DigestError):
                store.write(request)
            with pytest.raises(NotFoundError):
                store.stat(key)
            return
        try:
            store.write(request)
        except DigestError:
            return
        facts = store.stat(key)
        assert store.read(key).read_all() == data
        if kind in store.capabilities.attests:
            assert facts.digests.get(kind) != wrong.get(kind), "an attested digest is the client's word"

    @pytest.mark.parametrize("kind", sorted(ALL_KINDS))
    def test_each_digest_alone(self, store: ObjectStore, kind: DigestKind) -> None:
        """A right digest of any kind, sent alone, is no obstacle."""
        key, data = new_key(), b"one digest"
        store.write(WriteRequest(key, BytesBody(data), digests=digests_of(data).only({kind})))
        facts = store.stat(key)
        assert facts.digests.compare(digests_of(data)) is not Comparison.DIFFERENT

    def test_claims_fit_together(self, store: ObjectStore) -> None:
        """What a listing attests, the place attests; claims survive being written down."""
        claims = store.capabilities
        assert claims.listing_digests <= claims.attests
        assert type(claims).from_json(claims.to_json()) == claims
        assert Digests.NONE.kinds == frozenset()
