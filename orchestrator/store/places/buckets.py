"""The bucket that a URI names, reached with the credentials that the tools of its provider would use here."""

import configparser
import os
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import pyarrow.fs as pafs
from obstore.store import AzureStore, GCSStore, ObjectStore, S3Store

from orchestrator.store.places.bucket import Bucket
from search_spaces.errors import StorageError, shown

SECONDS, SECONDS_OF_LARGE = 30, 600
"""Longest time of one request."""
_KINDS = {"s3": "s3", "gs": "gs", "gcs": "gs", "abfs": "abfss", "abfss": "abfss", "az": "abfss"}
"""Of object stores, by the scheme of their URIs."""
_OPTIONS = {
    "s3": {"region", "scheme", "endpoint_override", "force_virtual_addressing", "allow_delayed_open"},
    "gs": {"scheme", "endpoint_override"},
    "abfss": set[str](),
}
"""What the query of a URI may say; the names are pyarrow's, which also reads `parquet:` from such URIs."""
_RETRIES: Any = {"max_retries": 3, "retry_timeout": timedelta(seconds=15)}
"""Of one request, for what is over in a moment; what takes longer is `Patience`'s."""


def is_bucket(uri: str) -> bool:
    """Tells whether a place is one of an object store."""
    return uri.partition("://")[0] in _KINDS


def open_bucket(uri: str) -> tuple[Bucket, str]:
    """Returns a bucket and the path in it, which begins with the bucket's name; asks at most where it is.

    Raises:
        StorageError: The URI names no bucket, or has options that nobody knows.
        OSError: AWS does not say in which region the bucket is.
    """
    parts = urlsplit(uri)
    kind, name, path = _KINDS[parts.scheme], parts.netloc, unquote(parts.path).rstrip("/")
    if not name:
        raise StorageError(f"storage {uri!r} names no bucket: give {uri.partition('?')[0]}bucket/folder.")
    options = dict(parse_qsl(parts.query))
    if unknown := sorted(options.keys() - _OPTIONS[kind]):
        known = ", ".join(sorted(_OPTIONS[kind])) or "none"
        raise StorageError(f"storage {uri!r} has the option {shown(unknown[0])}, which is none of {known}.")
    stores = [_store(kind, name, options, seconds) for seconds in (SECONDS, SECONDS_OF_LARGE)]
    return Bucket(f"{parts.scheme if kind == 'abfss' else kind}://", name, *stores), f"{name}{path}"


def _store(kind: str, name: str, options: Mapping[str, str], seconds: int) -> ObjectStore:
    endpoint = _endpoint(options)
    place = endpoint or os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or ""
    client: Any = {"timeout": timedelta(seconds=seconds), "allow_http": place.startswith("http://")}
    if kind == "gs":
        config: Any = {"base_url": endpoint} if endpoint else {}
        return GCSStore(name, config=config, client_options=client, retry_config=_RETRIES)
    if kind == "abfss":
        return AzureStore(name, client_options=client, retry_config=_RETRIES)
    return S3Store(name, config=_s3_config(name, options, endpoint), client_options=client, retry_config=_RETRIES)


def _endpoint(options: Mapping[str, str]) -> str | None:
    """Returns the server that a URI names in place of the provider's."""
    place = options.get("endpoint_override")
    return None if place is None else place if "://" in place else f"{options.get('scheme', 'https')}://{place}"


def _s3_config(name: str, options: Mapping[str, str], endpoint: str | None) -> Any:
    profile = {} if "AWS_ACCESS_KEY_ID" in os.environ else _profile(os.environ)
    config: dict[str, Any] = {key: value for key, value in profile.items() if key != "region"}
    if endpoint:
        config["endpoint"] = endpoint
        # Read from the environment, it would win.
        config["aws_endpoint_url_s3"] = endpoint
    is_aws = not (endpoint or "AWS_ENDPOINT_URL_S3" in os.environ or "AWS_ENDPOINT_URL" in os.environ)
    if region := options.get("region") or (_region(name, profile.get("region")) if is_aws else profile.get("region")):
        config["region"] = region
    if options.get("force_virtual_addressing", "").lower() in ("true", "1"):
        config["virtual_hosted_style_request"] = True
    return config


def _region(bucket: str, otherwise: str | None) -> str | None:
    """Asks AWS where a bucket is; whoever cannot ask has to say it, in the URI or in the environment."""
    try:
        return str(pafs.resolve_s3_region(bucket))
    except OSError:
        if otherwise or "AWS_REGION" in os.environ or "AWS_DEFAULT_REGION" in os.environ:
            return otherwise
        raise


def _profile(environment: Mapping[str, str]) -> dict[str, str]:
    """Returns the keys and the region of a profile of AWS's command line; none where it logs in in another way.

    obstore knows the environment and the role of a machine, and not these files.
    """
    home = Path(environment.get("HOME", "~")).expanduser() / ".aws"
    name = environment.get("AWS_PROFILE", "default")
    files = configparser.ConfigParser(default_section="-", interpolation=None)
    try:
        files.read(environment.get("AWS_CONFIG_FILE", home / "config"))
        files.read(environment.get("AWS_SHARED_CREDENTIALS_FILE", home / "credentials"))
    except configparser.Error:
        return {}
    sections = [files[section] for section in (f"profile {name}", name) if section in files]
    names = {"aws_access_key_id": "access_key_id", "aws_secret_access_key": "secret_access_key"}
    names |= {"aws_session_token": "session_token", "region": "region"}
    return {names[key]: value for section in sections for key, value in section.items() if key in names}
