"""How names and texts are put into messages and tables: without what a terminal would act on, and the nearest name first.

Standard library only: every layer may import this.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from difflib import get_close_matches

#: C0 and C1 controls; line and paragraph separators; what turns the direction of writing; what is not seen at all.
_UNSEEN = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff"
    "\U000e0000-\U000e007f]"
)
_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}
#: Names that a message lists at most.
_MOST_LISTED = 12


def printable(text: str, escaped: Callable[[str], str] | None = None) -> str:
    """`text` as a terminal can show it: one line, in which every character is seen and none is obeyed.

    Joiners (U+200C, U+200D) stay: Persian, Hindi and many emoji are written with them. A text that is printable comes back as it
    is, so that it does not matter how often it goes through here.

    Args:
        text: Any.
        escaped: What stands for one of these characters; None for what Python writes in a string.

    Example:
        >>> printable("cow\\x1b[2J\\r\\nbread"), printable("\\u202eabc")
        ('cow\\\\x1b[2J\\\\r\\\\nbread', '\\\\u202eabc')
    """
    return _UNSEEN.sub(lambda found: (escaped or _escaped)(found[0]), text)


def _escaped(character: str) -> str:
    code = ord(character)
    return _SHORT.get(character) or (f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}")


def listed(names: Sequence[str]) -> str:
    """Names for a message: all of a few, the first of many.

    Example:
        >>> listed(["a", "b"]), listed([])
        ('a, b', 'none')
    """
    more = f" and {len(names) - _MOST_LISTED} more" if len(names) > _MOST_LISTED else ""
    return (", ".join(names[:_MOST_LISTED]) or "none") + more


def no_such(what: str, names: Sequence[str], existing: Sequence[str], where: object) -> str:
    """A message for names that are not there: first what looks most like one of them, then what is there.

    Example:
        >>> no_such("concept", ["watr"], ["cow", "water"], "run.actlas")
        "no concept 'watr' in run.actlas; did you mean 'water'? it has cow, water"
    """
    return f"no {what} {', '.join(map(repr, names))} in {where}; {did_you_mean(names, existing)}it has {listed(existing)}"


def did_you_mean(names: Sequence[str], existing: Collection[str]) -> str:
    """The part of a message that asks for the nearest of what is there, with a space behind it; empty if nothing is near.

    Example:
        >>> did_you_mean(["watr", "x"], ["cow", "water"]), did_you_mean(["x"], ["cow"])
        ("did you mean 'water'? ", '')
    """
    nearest = [near for name in names for near in get_close_matches(name, list(existing), n=1)]
    return f"did you mean {', '.join(map(repr, dict.fromkeys(nearest)))}? " if nearest else ""
