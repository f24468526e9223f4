"""Texts that may hold secrets of their author, without them."""

import os
import re
from collections.abc import Mapping

from search_spaces.uris import redact

BLACKED_OUT = "***"
_SECRET = r"secret|token|passw(?:or)?d|passwd|credential|api_?key|access_?key|private_?key|authorization|webhook"
_VALUE = r"""(?:"[^"\n]*"|'[^'\n]*'|[^\s"',;]+)"""
# Nothing of any length before or after a word: long lines take no long time.
_ASSIGNMENT = re.compile(rf"""(?i)((?:{_SECRET})\w{{0,40}}["']?\s{{0,9}}[:=]\s{{0,9}}){_VALUE}""")
_KNOWN = re.compile(
    r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"  # Amazon
    r"|\bgh[pousr]_\w{20,}|\bgithub_pat_\w{20,}|\bglpat-[\w-]{20,}"  # GitHub, GitLab
    r"|\bhf_\w{20,}|\bxox[abprs]-[\w-]{10,}|\bsk-[\w-]{20,}"  # Hugging Face, Slack, OpenAI
    r"|\bey[\w-]{10,}\.ey[\w-]{10,}\.[\w-]+"  # JSON web tokens
)
_PRIVATE_KEY = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL)
SHORTEST = 6
"""Characters of a variable's value from which on it is looked for: shorter ones are words."""


def without_secrets(text: str, environment: Mapping[str, str] = os.environ) -> str:
    r"""Returns a text without what looks like a secret: by its name, by its form, or because a variable holds it.

    Examples:
        >>> without_secrets('API_KEY = "abc"\nuser = "me"', {})
        'API_KEY = ***\nuser = "me"'
        >>> without_secrets("+at = connect('s3cret-one')", {"DB_PASSWORD": "s3cret-one"})
        "+at = connect('***')"
    """
    names = re.compile(f"(?i){_SECRET}|_key$")
    values = [value for name, value in environment.items() if names.search(name) and len(value) >= SHORTEST]
    for value in sorted(values, key=len, reverse=True):
        text = text.replace(value, BLACKED_OUT)
    text = _KNOWN.sub(BLACKED_OUT, _PRIVATE_KEY.sub(BLACKED_OUT, text))
    return redact(_ASSIGNMENT.sub(rf"\g<1>{BLACKED_OUT}", text))
