"""The S3 connector without a server: settings, headers, errors, what is cut."""

import base64
from typing import Any

import pytest
from botocore import exceptions as sdk
from pydantic import ValidationError

from exitdrill import errors
from exitdrill.connector.objects import BytesBody
from exitdrill.connector.provider import Environment
from exitdrill.errors import DigestError, SeveredError, ThrottledError
from exitdrill.model.digests import ALL_KINDS, DigestKind, Digests, Hasher
from exitdrill.model.objects import Envelope
from exitdrill_s3 import S3Connector
from exitdrill_s3.body import BodyReader
from exitdrill_s3.headers import checksum_parameters, digests_of, entry_of, envelope_parameters, md5_of
from exitdrill_s3.sdk_errors import translate
from exitdrill_s3.settings import MEBIBYTE, S3Settings
from exitdrill_s3.upload import part_size_for

_MD5 = "5eb63bbbe01eeed093cb22bb8f5acdc3"
_CRC = base64.b64encode(bytes(range(8))).decode()
_KEYS = {"access_key_id": "AKID", "secret_access_key": "planted-secret"}


class TestSettings:
    @pytest.mark.parametrize(
        "wrong",
        [
            {"endpoint": "127.0.0.1:9000"},
            {"endpoint": "ftp://host"},
            {"endpoint": "http://user:pass@host"},
            {"access_key_id": "AKID"},
            {"session_token": "t"},
            {"addressing": "dns"},
            {"expected_bucket_owner": "me"},
            {"bucket": "typo"},
            {"part_size": 1},
        ],
    )
    def test_what_cannot_be_is_refused(self, wrong: dict[str, Any]) -> None:
        """A setting that makes no sense is refused when it is read, not when the drill runs."""
        with pytest.raises(ValidationError):
            S3Settings.model_validate(wrong)

    def test_secrets_are_not_shown(self) -> None:
        """Neither settings nor an opened place show a key."""
        settings = S3Settings.model_validate(_KEYS)
        with S3Connector().open("aws", settings) as provider:
            assert "planted-secret" not in repr(settings) + str(vars(provider))

    @pytest.mark.parametrize(
        ("endpoint", "environment"),
        [
            (None, Environment.CLOUD),
            ("https://s3.eu-central-1.amazonaws.com", Environment.CLOUD),
            ("https://s3.eusc-de-east-1.amazonaws.eu", Environment.CLOUD),
            ("https://s3.cn-north-1.amazonaws.com.cn", Environment.CLOUD),
            ("http://127.0.0.1:9000", Environment.PRIVATE),
            ("https://amazonaws.com.example.org", Environment.PRIVATE),
        ],
    )
    def test_environment(self, endpoint: str | None, environment: Environment) -> None:
        """Only Amazon's own hosts are the public cloud."""
        assert S3Settings(endpoint=endpoint).environment is environment

    def test_an_endpoint_from_the_environment_is_not_used(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """What the drill does not say cannot pass for Amazon S3: the SDK's endpoint variables do not count."""
        monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:1")
        with S3Connector().open("aws", S3Settings.model_validate({**_KEYS, "region": "eu-west-1"})) as provider:
            hosts = {endpoint.host for endpoint in provider.endpoints()}
            assert "*.eu-west-1.amazonaws.com" in hosts
            assert "127.0.0.1" not in hosts

    def test_a_profile_that_is_not_there(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
        """A profile nobody configured is an authentication error that names the variables."""
        monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
        monkeypatch.setenv("AWS_PROFILE", "nobody")
        with pytest.raises(errors.AuthenticationError, match="AWS_ACCESS_KEY_ID"):
            S3Connector().open("aws", S3Settings())

    def test_missing_credentials_name_the_variables(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
        """Without any key, the first request says which variables to set."""
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
        monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
        named = pytest.raises(errors.AuthenticationError, match="AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
        with S3Connector().open("aws", S3Settings(endpoint="http://127.0.0.1:9")) as provider, named:
            provider.server_time()

    def test_what_is_cut(self) -> None:
        """A region's data, identity and management hosts are named, and of a server of one's own its port."""
        with S3Connector().open("aws", S3Settings(region="eusc-de-east-1")) as provider:
            hosts = {endpoint.host for endpoint in provider.endpoints()}
            assert {"*.eusc-de-east-1.amazonaws.eu", "sts.amazonaws.eu", "169.254.169.254"} <= hosts
        own = S3Settings.model_validate({"endpoint": "http://10.0.0.1:9000", **_KEYS})
        with S3Connector().open("own", own) as provider:
            assert {(e.host, e.port) for e in provider.endpoints()} == {("10.0.0.1", 9000), ("*.10.0.0.1", 9000)}

    def test_tiers_are_mapped(self) -> None:
        """A tier without a line in the table is never passed through as a storage class."""
        table = S3Settings(storage_classes={"Cool": "STANDARD_IA"}).storage_classes
        assert envelope_parameters(Envelope(tier="Cool"), table)["StorageClass"] == "STANDARD_IA"
        assert envelope_parameters(Envelope(tier="Hot"), table)["StorageClass"] is None


class TestHeaders:
    def test_a_whole_object_checksum_counts(self) -> None:
        """A checksum of one request, or one that says FULL_OBJECT, is the whole object's."""
        want = Digests(crc64nvme=bytes(range(8)), md5=bytes.fromhex(_MD5))
        assert digests_of({"ETag": f'"{_MD5}"', "ChecksumCRC64NVME": _CRC}, md5=True) == want
        parts = {"ETag": f'"{_MD5}-2"', "ChecksumCRC64NVME": _CRC, "ChecksumType": "FULL_OBJECT"}
        assert digests_of(parts, md5=True) == want.only({DigestKind.CRC64NVME})

    @pytest.mark.parametrize(
        "answer",
        [
            {"ETag": f'"{_MD5}-2"', "ChecksumCRC64NVME": _CRC},
            {"ETag": f'"{_MD5}-2"', "ChecksumCRC32C": "AAAAAA==-2", "ChecksumType": "COMPOSITE"},
            {"ETag": '"x"', "ChecksumCRC64NVME": _CRC, "ChecksumType": "COMPOSITE"},
            {
                "ETag": f'"{_MD5}-2"',
                "ChecksumSHA256": base64.b64encode(bytes(32)).decode(),
                "ChecksumType": "FULL_OBJECT",
            },
            {"ETag": f'"{_MD5}"', "ServerSideEncryption": "aws:kms"},
            {"ETag": f'"{_MD5}"', "ServerSideEncryption": "aws:kms:dsse"},
            {"ETag": f'"{_MD5}"', "SSECustomerAlgorithm": "AES256"},
            {"ETag": '"x"', "ChecksumCRC64NVME": "not base64!"},
            {"ETag": '"x"', "ChecksumCRC64NVME": "AAAA"},
            {},
        ],
    )
    def test_what_proves_nothing(self, answer: dict[str, str]) -> None:
        """Composite values, parts of unknown type and ETags of encrypted objects are no digests."""
        assert digests_of(answer, md5=True) == Digests.NONE

    def test_a_part_of_an_object_has_no_checksum(self) -> None:
        """A ranged answer can carry the checksum of a part."""
        assert digests_of({"ETag": '"x"', "ChecksumCRC64NVME": _CRC}, md5=True, whole=False) == Digests.NONE

    def test_an_etag_is_an_md5_where_that_is_known(self) -> None:
        """An ETag that looks like an MD5 counts only where preflight found that it is one."""
        assert digests_of({"ETag": f'"{_MD5}"'}, md5=False) == Digests.NONE
        assert md5_of(f"{_MD5}-3") is None

    def test_encoded_words(self) -> None:
        """Metadata that S3 encodes for the mail comes back as it was; what only looks so stays."""
        answer = {
            "Metadata": {
                "Name": "=?UTF-8?B?Y2Fmw6k=?=",
                "plain": "=?UTF-8?Q?cafe?=",
                "odd": "=?x",
                "bad": "=?zz?B?ww?=",
            }
        }
        envelope = entry_of("k", answer, size=0).envelope
        assert envelope is not None
        assert dict(envelope.user) == {
            "name": "caf\u00e9",
            "plain": "=?UTF-8?Q?cafe?=",
            "odd": "=?x",
            "bad": "=?zz?B?ww?=",
        }
        assert envelope.tier == "STANDARD"

    def test_one_checksum_and_the_md5(self) -> None:
        """S3 takes one checksum header; the strongest known goes, wrong or not, and the MD5 beside it."""
        hasher = Hasher(ALL_KINDS)
        hasher.update(b"x")
        digests = hasher.digests()
        assert set(checksum_parameters(digests)) == {"ChecksumCRC64NVME", "ContentMD5"}
        assert set(checksum_parameters(digests.only({DigestKind.SHA256, DigestKind.CRC32C}))) == {"ChecksumSHA256"}
        assert checksum_parameters(Digests.NONE) == {}

    def test_tags_are_encoded(self) -> None:
        """Tag names and values survive a query string."""
        sent = envelope_parameters(Envelope(tags=(("a b", "\u00e9+="), ("c", ""))), {})["Tagging"]
        assert sent == "a%20b=%C3%A9%2B%3D&c="


class TestBody:
    def test_it_reads_in_pieces_and_begins_again(self) -> None:
        """A stretch reads in any sizes, and again after a seek."""
        reader = BodyReader(BytesBody(bytes(range(100))), 10, 50)
        assert len(reader) == 50
        assert reader.read(7) == bytes(range(10, 17))
        assert reader.tell() == 7
        assert reader.read() == bytes(range(17, 60))
        assert reader.read(5) == b""
        assert reader.seek(0, 2) == 50
        reader.seek(0)
        assert reader.read() == bytes(range(10, 60))

    @pytest.mark.parametrize(("claimed", "word"), [(11, "fewer"), (9, "more")])
    def test_a_body_of_another_length(self, claimed: int, word: str) -> None:
        """A body that is not as long as it said is an error, not a shorter object."""

        class Liar(BytesBody):
            def open(self, offset: int = 0, length: int | None = None) -> Any:  # noqa: ARG002 - lies about it
                yield self.data

        reader = BodyReader(Liar(bytes(10)), 0, claimed)
        with pytest.raises(DigestError, match=word):
            reader.read()
        assert isinstance(reader.failure, DigestError)


@pytest.mark.parametrize(
    ("size", "wanted", "part"),
    [
        (0, 16 * MEBIBYTE, 16 * MEBIBYTE),
        (160_000 * MEBIBYTE, 16 * MEBIBYTE, 16 * MEBIBYTE),
        (160_000 * MEBIBYTE + 1, 16 * MEBIBYTE, 17 * MEBIBYTE),
        (5 * 1024**4, 16 * MEBIBYTE, 525 * MEBIBYTE),
    ],
)
def test_ten_thousand_parts_are_enough(size: int, wanted: int, part: int) -> None:
    """Parts grow with the object, so that 10,000 hold it."""
    assert part_size_for(size, wanted) == part
    assert -(-size // part) <= 10_000


def _answer(code: str, status: int, **headers: str) -> sdk.ClientError:
    return sdk.ClientError(
        {
            "Error": {"Code": code, "Message": "why"},
            "ResponseMetadata": {
                "HTTPStatusCode": status,
                "HTTPHeaders": headers,
                "RequestId": "",
                "HostId": "",
                "RetryAttempts": 0,
            },
        },
        "Op",
    )


class TestErrors:
    @pytest.mark.parametrize(
        ("code", "status", "operation", "kind"),
        [
            ("SignatureDoesNotMatch", 403, "get_object", "AuthenticationError"),
            ("InvalidAccessKeyId", 403, "get_object", "AuthenticationError"),
            ("ExpiredToken", 400, "get_object", "AuthenticationError"),
            ("RequestTimeTooSkewed", 403, "get_object", "AuthenticationError"),
            ("AccessDenied", 403, "get_object", "PermissionDeniedError"),
            ("403", 403, "head_object", "PermissionDeniedError"),
            ("404", 404, "head_object", "NotFoundError"),
            ("NoSuchBucket", 404, "get_object", "NotFoundError"),
            ("PreconditionFailed", 412, "get_object", "ChangedError"),
            ("412", 412, "head_object", "ChangedError"),
            ("PreconditionFailed", 412, "put_object", "ConflictError"),
            ("ConditionalRequestConflict", 409, "put_object", "TransientError"),
            ("BucketAlreadyExists", 409, "create_bucket", "ConflictError"),
            ("BadDigest", 400, "put_object", "DigestError"),
            ("XAmzContentSHA256Mismatch", 400, "put_object", "DigestError"),
            ("KeyTooLongError", 400, "put_object", "InvalidKeyError"),
            ("QuotaExceeded", 403, "put_object", "NoSpaceError"),
            ("EntityTooLarge", 400, "put_object", "NoSpaceError"),
            ("InvalidObjectState", 403, "get_object", "ArchivedError"),
            ("SlowDown", 503, "get_object", "ThrottledError"),
            ("429", 429, "head_object", "ThrottledError"),
            ("InternalError", 500, "get_object", "TransientError"),
            ("502", 502, "head_object", "TransientError"),
            ("RequestTimeout", 400, "put_object", "TransientError"),
            ("NotImplemented", 501, "get_object", "UnsupportedError"),
            ("MalformedXML", 400, "put_object", "ConnectorError"),
        ],
    )
    def test_what_the_service_says(self, code: str, status: int, operation: str, kind: str) -> None:
        """Every code of the service has its place in our tree, and the text keeps code and resource."""
        error = translate(_answer(code, status), operation, "aws:bucket/key")
        assert type(error).__name__ == kind
        assert error.resource == "aws:bucket/key"
        assert code in str(error)

    @pytest.mark.parametrize(
        ("header", "seconds"),
        [("7", 7.0), ("Mon, 23 Nov 2026 10:00:30 GMT", 30.0), ("soon", None), (None, None)],
    )
    def test_retry_after(self, header: str | None, seconds: float | None) -> None:
        """Both forms of Retry-After are understood; what is neither is no wait."""
        headers = {"date": "Mon, 23 Nov 2026 10:00:00 GMT"} | ({} if header is None else {"retry-after": header})
        error = translate(_answer("SlowDown", 503, **headers), "get_object", "r")
        assert isinstance(error, ThrottledError)
        assert error.retry_after_seconds == seconds

    def test_a_wrong_clock_is_named(self) -> None:
        """A skewed clock says what the server's clock says."""
        error = translate(
            _answer("RequestTimeTooSkewed", 403, date="Mon, 23 Nov 2026 10:00:00 GMT"), "list_buckets", "aws"
        )
        assert "2026-11-23T10:00:00Z" in str(error)
        assert "clock" in str(error)

    @pytest.mark.parametrize(
        ("exc", "kind"),
        [
            (sdk.EndpointConnectionError(endpoint_url="http://x"), "TransientError"),
            (sdk.ReadTimeoutError(endpoint_url="http://x"), "TransientError"),
            (sdk.ConnectTimeoutError(endpoint_url="http://x"), "TransientError"),
            (sdk.IncompleteReadError(actual_bytes=1, expected_bytes=2), "TransientError"),
            (sdk.SSLError(endpoint_url="https://x", error=OSError("CERTIFICATE_VERIFY_FAILED")), "ConnectorError"),
            (sdk.SSLError(endpoint_url="https://x", error=OSError("EOF")), "TransientError"),
            (sdk.HTTPClientError(error=ValueError("Invalid header value")), "UnsupportedError"),
            (sdk.NoCredentialsError(), "AuthenticationError"),
            (sdk.NoRegionError(), "ConnectorError"),
            (sdk.ParamValidationError(report="bad name"), "UnsupportedError"),
            (sdk.DataNotFoundError(data_path="x"), "ConnectorError"),
        ],
    )
    def test_what_the_sdk_says(self, exc: Exception, kind: str) -> None:
        """What never reached the service has its place too."""
        assert type(translate(exc, "get_object", "r")).__name__ == kind

    def test_an_error_of_ours_comes_out_as_it_went_in(self) -> None:
        """The cut is seen through the SDK's wrapping."""
        cut = SeveredError("cut")
        assert translate(sdk.HTTPClientError(error=cut), "get_object", "r") is cut

    def test_an_error_being_handled_is_not_the_answer(self) -> None:
        """A second request's refusal, made while a first one is handled, is its own."""
        second = _answer("NoSuchKey", 404)
        second.__context__ = DigestError("first")
        assert type(translate(second, "head_object", "r")).__name__ == "NotFoundError"
