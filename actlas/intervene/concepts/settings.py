"""What can be put into a target prompt, and which source prompts its latents are means over."""

from __future__ import annotations

from collections.abc import Sequence

from actlas.errors import QueryError

#: The language that the mean over seen languages leaves out, whatever is translated.
ENGLISH = "en"
#: Settings in which nothing is patched.
UNPATCHED = ("unpatched", "unpatched_source")


def language_pair(name: str) -> tuple[str, str]:
    """Input and output language of a translation by its name.

    Args:
        name: Both, with a dash between.

    Raises:
        QueryError: If these are not two.

    Example:
        >>> language_pair("fr-en")
        ('fr', 'en')
    """
    first, _, second = name.partition("-")
    if not first or not second or "-" in second:
        raise QueryError(f"a translation is named by its two languages, such as fr-en, not {name!r}")
    return first, second


def source_pairs(setting: str, pair: tuple[str, str], seen: Sequence[str]) -> list[tuple[str, str]]:
    """Languages of the source prompts that a setting takes the mean over.

    Args:
        setting: One of `PATCH_SETTINGS`.
        pair: Input and output language of the target prompt.
        seen: Languages that the model has seen.

    Returns:
        Input and output language of each; none for a setting that uses the target prompt alone.

    Example:
        >>> source_pairs("seen", ("fr", "en"), ["en", "fr", "de", "es"])
        [('de', 'es'), ('es', 'de')]
        >>> source_pairs("self", ("fr", "en"), [])
        [('en', 'en')]
    """
    if setting == "seen":
        rest = [name for name in seen if name not in (ENGLISH, *pair)]
        return [(first, second) for first in rest for second in rest if first != second]
    known = {"tgt": [pair], "unpatched_source": [pair], "en_en": [(ENGLISH, ENGLISH)], "self": [(pair[1], pair[1])]}
    return known.get(setting, [])
