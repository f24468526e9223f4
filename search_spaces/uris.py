"""Places that users name: a path of this machine, or the URI of an object store."""

import ipaddress
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

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
TRUSTED_HOSTS = "DPTQ_TRUSTED_HOSTS"
"""Variable with the hosts that the user of a command named, separated by commas; `*` is every host."""
_NAMED_HOST = re.compile(r"(?:https?://(?:[^/\s@]*@)?|endpoint_override=(?:https?://)?)([\w.-]+)|^([\w.-]+):\d+$")
_GRID_FILES = (".yaml", ".yml")


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
            begin = "file:///" if scheme.lower() == "file" else f"{scheme.lower()}://"
            raise ConfigError(
                f"{what} {shown(uri)} is no path, and no URI: write {begin}{rest.lstrip('/')}, or ./{uri} for a "
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


def moved_to(place: str, folder: Path) -> Path | None:
    """Returns where the files of a local place lie if nothing is there any more: in a folder, under the same name.

    Args:
        place: A path, or a URI, which never moves.
        folder: That is looked into; it may itself be what moved, if it has the name.

    Returns:
        The path; None for a place that exists or is a URI, and if the files are not there either.
    """
    path = Path(place)
    if not place or "://" in place or path.exists():
        return None
    if (inside := folder / path.name).exists():
        return inside
    return folder if folder.name == path.name and folder.is_dir() else None


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


def named_hosts(arguments: Iterable[str], environment: Mapping[str, str]) -> set[str]:
    """Returns the hosts that a user named: in a command line, a grid file of it, or a variable that tells a place.

    Examples:
        >>> sorted(named_hosts(["--tracking-uri", "http://ml:5000", "--storage=s3://b?endpoint_override=s3.local"], {}))
        ['ml', 's3.local']
        >>> sorted(named_hosts(["--address", "head:6379"], {"AWS_ENDPOINT_URL": "https://store.example.com"}))
        ['head', 'store.example.com']
    """
    texts = [argument.partition("=")[2] if argument.startswith("--") else argument for argument in arguments]
    places = ("DPTQ_", "AWS_ENDPOINT_URL", "MLFLOW_TRACKING_URI", "RAY_ADDRESS")
    texts += [value for name, value in environment.items() if name.startswith(places)]
    files = [Path(text) for text in texts if text.endswith(_GRID_FILES)]
    texts += [file.read_text(errors="replace") for file in files if file.is_file()]
    found = {"".join(groups).lower() for text in texts for groups in _NAMED_HOST.findall(unquote(text))}
    return found | {host for host in environment.get(TRUSTED_HOSTS, "").split(",") if host}


def trusted_variables() -> dict[str, str]:
    """Returns the variable by which workers elsewhere know whom the user named."""
    return {name: value for name, value in os.environ.items() if name == TRUSTED_HOSTS}


def is_elsewhere(place: str) -> bool:
    """Tells whether a place names a host, and one that is not this machine.

    Examples:
        >>> [is_elsewhere(each) for each in ("http://ml:5000", "127.example.com:6379", "http://[2001:db8::1]")]
        [True, True, True]
        >>> [is_elsewhere(each) for each in ("http://127.0.0.1:5000", "http://[::1]:5000", "sqlite:///x.db", "auto")]
        [False, False, False, False]
    """
    host = _host_of(place)
    try:
        return host is not None and not ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host != "localhost"


def check_host(place: str, *, what: str, option: str) -> None:
    """Makes sure that this machine's user named the host at which a place from a storage is: it gets credentials.

    Args:
        place: A URI, one of an object store with `endpoint_override`, or `host:port`.
        what: What is there, such as `MLflow of the sweep`.
        option: By which a user names it.

    Raises:
        ConfigError: Nobody did.
    """
    if not is_elsewhere(place):
        return
    host, trusted = _host_of(place), os.environ.get(TRUSTED_HOSTS, "").split(",")
    if "*" not in trusted and host not in trusted:
        raise ConfigError(
            f"{what} is at {host}, which the storage says and you did not, and would get this machine's credentials: "
            f"name it with {option}, or accept what the storage says with --trust-storage."
        )


def _host_of(place: str) -> str | None:
    """Returns the host that a place names, other than the usual ones of object stores; None for none."""
    if "://" not in place:
        host, colon, port = place.rpartition(":")
        return host.strip("[]").lower() if colon and port.isdigit() else None
    parts = urlsplit(place)
    if parts.scheme in ("http", "https", "ray"):
        return (parts.hostname or "").lower()
    endpoint = parse_qs(parts.query).get("endpoint_override")
    if not endpoint:
        return None
    return (urlsplit(f"//{endpoint[-1].rpartition('://')[2]}").hostname or endpoint[-1]).lower()
