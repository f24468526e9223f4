"""Places that users name: a path of this machine, or the URI of an object store."""

import os
import re

from search_spaces.errors import ConfigError

_CREDENTIALS = re.compile(r"://[^/\s]*@")


def absolute_uri(uri: str, *, what: str) -> str:
    """Returns a place written so that it means the same from every folder: a URI as it is, a path absolute.

    Args:
        uri: A path, `~` included, or a URI.
        what: What it is the place of, for the error.

    Raises:
        ConfigError: The URI holds credentials.

    Examples:
        >>> absolute_uri("/data/../flowers/", what="dataset"), absolute_uri("s3://bucket/flowers", what="dataset")
        ('/flowers', 's3://bucket/flowers')
    """
    if "://" not in uri:
        return os.path.abspath(os.path.expanduser(uri))
    # A secret key may hold slashes, which end the host: then what is left of `key:secret` stands where a port would.
    host, _, port = re.split("[/?#]", uri.partition("://")[2])[0].partition(":")
    if "@" in host + port or (port and not port.isdigit()):
        # Not repeated in the error: the URI goes on to plans, logs and reports.
        raise ConfigError(
            f"the {what} URI holds credentials, which would end up in logs and reports: leave them out and set "
            "them in the environment (AWS_ACCESS_KEY_ID, GOOGLE_APPLICATION_CREDENTIALS)."
        )
    return uri


def redact(text: str) -> str:
    """Removes user names and passwords from the URLs in a text.

    Examples:
        >>> redact("cannot open http://ann:secret@host:5000/x")
        'cannot open http://host:5000/x'
    """
    return _CREDENTIALS.sub("://", text)
