"""Places that users name: a path of this machine, or the URI of an object store."""

import os
import re
from urllib.parse import parse_qs

from search_spaces.errors import ConfigError, shown

_SECRET_OPTIONS = {"access_key", "secret_key", "session_token"}
"""Credentials in a URI's query, which pyarrow does not take."""
_DEFAULTS = {
    # One request for a small file in place of three.
    "s3://": ("allow_delayed_open", "true"),
    # Left alone, Google's client tries for 15 minutes to reach a host that is not there.
    "gs://": ("retry_limit_seconds", "30"),
}
_STORES = ("s3", "gs", "gcs")
_MISTYPED = re.compile(r"[A-Za-z][\w+.-]+:/|(s3|gs|gcs):")
"""A scheme with one slash, which would be a folder; no one means a folder with a colon at its end."""
_CREDENTIALS = re.compile(r"://[^/\s]*@")


def absolute_uri(uri: str, *, what: str) -> str:
    """Returns a place written so that it means the same from every folder: a URI as it is, a path absolute.

    Raises:
        ConfigError: It is empty, the URI holds credentials, or is not written in full.

    Examples:
        >>> absolute_uri("/data/../flowers/", what="dataset"), absolute_uri("s3://bucket/flowers", what="dataset")
        ('/flowers', 's3://bucket/flowers')
    """
    if not uri:
        raise ConfigError(f"the {what} place is empty: name a folder, or a URI such as s3://bucket/folder.")
    if "\0" in uri:
        raise ConfigError(f"the {what} place {shown(uri)} holds a NUL byte, which no path can: leave it out.")
    if not uri.isprintable() and re.search("[\ud800-\udfff]", uri):
        raise ConfigError(f"the {what} place {shown(uri)} is no UTF-8: rename the folder.")
    if "://" not in uri:
        if _MISTYPED.match(uri):
            scheme, _, rest = uri.partition(":")
            raise ConfigError(
                f"{what} {shown(uri)} is no path, and no URI: write {scheme}://{rest.lstrip('/')}, or ./{uri} for a "
                "folder of this name."
            )
        return os.path.abspath(os.path.expanduser(uri))
    # A secret key may hold slashes, which end the host: then what is left of `key:secret` stands where a port would.
    host, _, port = re.split("[/?#]", uri.partition("://")[2])[0].partition(":")
    has_secret = _SECRET_OPTIONS & parse_qs(uri.partition("?")[2]).keys()
    if "@" in host + port or (port and not port.isdigit()) or has_secret:
        # Not repeated in the error: the URI goes on to plans, logs and reports.
        raise ConfigError(
            f"the {what} URI holds credentials, which would end up in logs and reports: leave them out and set "
            "them in the environment (AWS_ACCESS_KEY_ID, GOOGLE_APPLICATION_CREDENTIALS)."
        )
    scheme, _, place = uri.partition("://")
    if scheme in _STORES and "//" in place.partition("?")[0]:
        raise ConfigError(
            f"{what} {shown(uri)} has an empty part between slashes, which stores of objects do not have: write "
            f"{scheme}://{re.sub('/+', '/', place)}."
        )
    return uri


def redact(text: str) -> str:
    """Removes user names and passwords from the URLs in a text.

    Examples:
        >>> redact("cannot open http://ann:secret@host:5000/x")
        'cannot open http://host:5000/x'
    """
    return _CREDENTIALS.sub("://", text)


def with_defaults(uri: str) -> str:
    """Adds to the URI of an object store what we want of pyarrow and it does not say; leaves other places alone.

    Examples:
        >>> with_defaults("s3://bucket/x?region=us-east-1"), with_defaults("/data")
        ('s3://bucket/x?region=us-east-1&allow_delayed_open=true', '/data')
    """
    location, _, query = uri.partition("?")
    for prefix, (name, value) in _DEFAULTS.items():
        if uri.startswith(prefix) and name not in parse_qs(query):
            return f"{location}?{query}&{name}={value}" if query else f"{location}?{name}={value}"
    return uri
