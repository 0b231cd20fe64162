"""The files of the page, each under an address that changes with it."""

from __future__ import annotations

import hashlib
import re
from functools import cache
from pathlib import Path

from actlas.errors import NameNotFound
from actlas.explore.module import FOLDER
from actlas.words import no_such

_KINDS = {".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8"}
_LINK = re.compile(r"""(?<=["'])/front/([\w.-]+)(?=["'])""")


@cache
def page() -> bytes:
    """The page, in which scripts and styles are named by what is in them."""
    text = (FOLDER / "page.html").read_text(encoding="utf-8")
    return _LINK.sub(lambda found: f"/front/{found[1]}?v={file(found[1])[2]}", text).encode()


@cache
def file(name: str) -> tuple[bytes, str, str]:
    """A script or a style: its bytes, its media type, and what changes with it.

    Raises:
        NameNotFound: If there is none of that name.
    """
    names = sorted(path.name for path in FOLDER.iterdir() if path.suffix in _KINDS)
    if name not in names:
        raise NameNotFound(no_such("file", [name], names, "actlas explore"))
    body = (FOLDER / name).read_bytes()
    return body, _KINDS[Path(name).suffix], hashlib.blake2b(body, digest_size=8).hexdigest()
