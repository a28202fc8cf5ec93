"""Secrets never reach a log line, an error or a screen.

People mistype URLs, and it is the mistyped one that an error shows. So this guesses, and hides too
much rather than too little.
"""

from __future__ import annotations

import re
from typing import Final

MASK: Final = "***"

_SCHEME: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:?/{1,2}|:?/{1,2}|")
# Without an "@" a password stands where the port would: whatever is no number there is hidden.
_NO_PORT: Final = re.compile(r"\A(?P<before>[^:/?#@\[]*:)(?!\d*(?:[/?#,]|\Z))[^/?#]*")
_PARAMETER: Final = re.compile(
    r"([?&;][^=&;#]*(?:password|passwd|secret|token)[^=&;#]*=)[^&]*", re.IGNORECASE
)


def mask_url(url: str) -> str:
    """Return ``url`` with its password, and parameters that name one, replaced by ``***``.

    Also of text that is no URL: without a scheme, or with a broken one. Never raises, whatever
    text it is given, and is the same when applied twice.
    """
    scheme = _SCHEME.match(url)
    start = scheme.end() if scheme else 0
    # A password may hold anything, also an unquoted "@" or "/": up to the last "@" it is not host.
    userinfo, at, rest = url[start:].rpartition("@")
    if start and url.startswith("/", start) and url[:start].endswith("//"):
        masked = url[start:]  # a path: nobody is named
    elif at:
        user, colon, _ = userinfo.partition(":")
        masked = f"{user}{colon}{MASK if colon else ''}@{rest}"
    else:
        masked = _NO_PORT.sub(rf"\g<before>{MASK}", rest, count=1) if start else rest
    return _PARAMETER.sub(rf"\1{MASK}", url[:start] + masked)
