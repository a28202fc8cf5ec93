"""Secrets never reach a log line, an error or a screen."""

from __future__ import annotations

import re
from typing import Final

MASK: Final = "***"

# A password may hold anything, also an unquoted "@" or "/": up to the last "@" it is not host.
_USERINFO: Final = re.compile(r"^(?P<before>[^:/?#]+://[^:@/?#]*:)(?P<password>.*)@", re.DOTALL)
_PARAMETER: Final = re.compile(
    r"(?i)([?&;][^=&;#]*(?:password|passwd|secret|token)[^=&;#]*=)[^&;#]*"
)


def mask_url(url: str) -> str:
    """Return ``url`` with its password, and parameters that name one, replaced by ``***``.

    Never raises, whatever text it is given, and is the same when applied twice.
    """
    url = _USERINFO.sub(rf"\g<before>{MASK}@", url)
    return _PARAMETER.sub(rf"\1{MASK}", url)
