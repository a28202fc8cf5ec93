"""Passwords never leave the process: the last net under everything that goes to stderr."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import unquote

_MASK: Final = "***"
# The forms that remedies show say "password" themselves; a password of that name is remembered.
_USERINFO: Final = re.compile(r"(\w://\[?[^\s:/@'\"]*):(?!password@|password@\])[^\s'\"]*@")
_PASSWORD: Final = re.compile(r"\w://[^\s:/@]*:(.*)@")
_SHORTEST: Final = 4
"""Replacing shorter passwords wherever they occur would make messages unreadable."""

_known: set[str] = set()


def remember(*urls: str | None) -> None:
    """Never print the passwords of these URLs, in whatever form a message holds them."""
    for url in urls:
        match = _PASSWORD.search(url or "")
        if match is not None:
            _known.update(item for item in (match[1], unquote(match[1])) if len(item) >= _SHORTEST)


def scrub(text: str) -> str:
    """Return ``text`` without passwords: those remembered, and of anything that looks a URL."""
    text = _USERINFO.sub(rf"\1:{_MASK}@", text)
    for secret in sorted(_known, key=len, reverse=True):
        text = text.replace(secret, _MASK)
    return text
