"""A storage's URI and the environment reach the bucket, server and credentials that AWS's and Google's tools would."""

from pathlib import Path

import pytest
from obstore.store import S3Store

from orchestrator.store.places.bucket import Bucket
from orchestrator.store.places.buckets import open_bucket
from orchestrator.store.store import Store
from search_spaces.errors import StorageError

VARIABLES = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE")
SERVER = "s3://bucket/a%20b?endpoint_override=minio:9000&scheme=http&region=r"


@pytest.fixture(autouse=True)
def _bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in (*VARIABLES, "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


def store_of(uri: str) -> S3Store:
    store = open_bucket(uri)[0]._store
    assert isinstance(store, S3Store)
    return store


def test_server_and_region_of_a_uri_win_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "https://elsewhere")
    monkeypatch.setenv("AWS_REGION", "elsewhere")
    bucket, path = open_bucket(SERVER)
    config = store_of(SERVER).config
    assert (bucket.prefix, bucket.name, path) == ("s3://", "bucket", "bucket/a b")
    assert (config.get("endpoint_url_s3"), config.get("region")) == ("http://minio:9000", "r")


def test_server_of_the_environment_is_reached_without_encryption_if_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://minio:9000")
    assert (store_of("s3://bucket/x").client_options or {}).get("allow_http")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "https://minio:9000")
    assert (store_of("s3://bucket/x").client_options or {}).get("allow_http") in (None, False, "false")


def test_keys_of_a_profile_are_found_where_the_environment_has_none(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws/credentials").write_text(
        "[default]\naws_access_key_id = first\naws_secret_access_key = s%1\n"
        "[other]\naws_access_key_id = second\naws_secret_access_key = s\n"
    )
    (tmp_path / ".aws/config").write_text("[profile other]\nregion = eu-west-3\n")
    uri = "s3://bucket/x?endpoint_override=minio:9000"
    assert store_of(uri).config.get("access_key_id") == "first"
    monkeypatch.setenv("AWS_PROFILE", "other")
    assert (store_of(uri).config.get("access_key_id"), store_of(uri).config.get("region")) == ("second", "eu-west-3")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "third")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s")
    assert "access_key_id" not in store_of(uri).config, "left to the environment"


def test_option_that_nobody_knows_and_place_of_no_store_are_refused() -> None:
    with pytest.raises(StorageError, match=r"has the option 'colour', which is none of allow_delayed_open, endpoint"):
        Store("s3://bucket/x?colour=red", create=False)
    with pytest.raises(StorageError, match=r"hdfs://host/x' cannot be opened: give a path, s3://"):
        Store("hdfs://host/x", create=False)


def test_google_and_azure_are_reached_by_their_own_clients(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GOOGLE_SKIP_SIGNATURE", "true")
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "account")
    assert Store("gs://bucket/x", create=False).root.root == "gs://bucket/x"
    azure = Store("abfss://container/x", create=False).root
    assert (azure.root, isinstance(azure.place, Bucket)) == ("abfss://container/x", True)
    assert Store(f"file://{tmp_path}/a%20b").root.local_path == tmp_path / "a b"
