"""What can be put into a target prompt, and which source prompts its latents are means over."""

from __future__ import annotations

from collections.abc import Sequence

from actlas.errors import QueryError

#: The language that the mean over seen languages leaves out, whatever is translated.
ENGLISH = "en"
#: Setting -> what is put into the target prompt. The last two put nothing there.
SETTINGS = {
    "seen": "means over all ordered pairs of seen languages without English and the two that are translated between",
    "tgt": "latents of the source concept's prompt in the same two languages",
    "en_en": "latents of its prompt from English to English",
    "self": "latents of its prompt from the output language to itself",
    "tgt_tgt": "the target prompt's own latents: a control, which changes nothing but for rounding",
    "unpatched": "nothing: what the target prompt gives",
    "unpatched_source": "nothing, in the source concept's prompt in the same two languages: what is there to be carried over",
}
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
        setting: One of `SETTINGS`.
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
