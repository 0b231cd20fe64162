"""The language of short texts, in the codes of a store, by an identifier that needs no network."""

from __future__ import annotations

import copy
import functools
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import polars as pl

from actlas.errors import BackendUnavailable, OptionError

_INSTALL = "identifying languages needs py3langid: pip install 'actlas[steer]'"


@dataclass(frozen=True)
class Identifier:
    """What tells languages apart; recorded with every answer.

    Attributes:
        name: Of the distribution.
    """

    name: str

    @property
    def version(self) -> str:
        """The installed version, whose model decides answers.

        Raises:
            BackendUnavailable: If it is not installed.
        """
        try:
            return version(self.name)
        except PackageNotFoundError as error:
            raise BackendUnavailable(_INSTALL) from error


IDENTIFIER = Identifier("py3langid")
#: The identifier's code of what has no words of any language, such as numbers.
_NO_LANGUAGE = "zxx"
#: ISO 639-3 and the like -> the identifier's code, ISO 639-1 where there is one. Single varieties stand for the whole language.
_OTHER_CODES: Mapping[str, str] = dict(
    re.findall(
        r"(\w+):(\w+)",
        """
        afr:af als:sq amh:am ara:ar arb:ar arg:an asm:as aze:az azj:az bak:ba bel:be ben:bn bos:bs bre:br bul:bg
        cat:ca ces:cs chi:zh cmn:zh cym:cy dan:da deu:de ekk:et ell:el eng:en epo:eo est:et eus:eu fao:fo fas:fa
        fil:tl fin:fi fra:fr fre:fr fry:fy fuc:fuv gaz:om ger:de gla:gd gle:ga glg:gl grn:gug guj:gu hat:ht hau:ha
        heb:he hin:hi hrv:hr hun:hu hye:hy ibo:ig ind:id isl:is ita:it jav:jv jpn:ja kan:kn kat:ka kaz:kk khk:mn
        khm:km kin:rw kir:ky kmr:ku kor:ko kur:ku lao:lo lat:la lav:lv lin:ln lit:lt ltz:lb lug:lg lvs:lv mal:ml
        mar:mr may:ms mkd:mk mlg:mg mlt:mt mon:mn msa:ms mya:my nb:no nep:ne nld:nl nno:nn nob:no nor:no npi:ne oci:oc
        ori:or orm:om ory:or pan:pa pbt:ps per:fa pes:fa plt:mg pol:pl por:pt prs:fa pus:ps que:qu quy:qu quz:qu
        ron:ro rus:ru san:sa sin:si slk:sk slv:sl sme:se sna:sn som:so sot:st spa:es sqi:sq srp:sr swa:sw swe:sv
        swh:sw tam:ta tat:tt tel:te tgk:tg tgl:tl tha:th tuk:tk tur:tr uig:ug ukr:uk urd:ur uzb:uz uzn:uz vie:vi
        vol:vo wln:wa xho:xh yor:yo zho:zh zhs:zh zht:zh zsm:ms zul:zu
        """,
    )
)


@functools.cache
def _whole() -> Any:
    """The identifier with all its languages; never changed, for others share it."""
    try:
        from py3langid.langid import MODEL_FILE, LanguageIdentifier
    except ImportError as error:
        raise BackendUnavailable(_INSTALL) from error
    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)


def _code(language: str) -> str | None:
    """The identifier's code of a store's language; None if it knows none."""
    base = re.split(r"[-_]", language.strip().lower())[0]
    code = _OTHER_CODES.get(base, base)
    return code if code in _whole().labels and code != _NO_LANGUAGE else None


def identifiable(languages: Sequence[str]) -> tuple[str, ...]:
    """The languages of a store that can be told apart in texts.

    Left out are those that the identifier does not know, and those that are one language to it (zho-CN and zho-TW).

    Args:
        languages: Codes as they stand in a corpus: en, eng, eng_Latn, zho-CN.

    Returns:
        Those that `identify_languages` takes, in the same order.

    Raises:
        BackendUnavailable: If the identifier is not installed.

    Example:
        >>> identifiable(["eng_Latn", "zho-CN", "tlh", "pt-BR", "pt-PT"])
        ('eng_Latn', 'zho-CN')
    """
    codes = {language: _code(language) for language in languages}
    often = Counter(codes.values())
    return tuple(language for language, code in codes.items() if code is not None and often[code] == 1)


def identify_languages(texts: Sequence[str], languages: Sequence[str] | None = None) -> pl.DataFrame:
    """The language that each text is most likely in.

    Args:
        texts: Short or long.
        languages: Those it may be in, in a store's codes; at least two. None: any that the identifier knows, in its own codes
            (ISO 639-1 where there is one).

    Returns:
        One row per text with columns language and confidence, the share of the identifier's probability among the languages it
        may be in. Both are null where a text has no letters, or says nothing about its language.

    Raises:
        OptionError: If fewer than two languages are named, or some that cannot be told apart (`identifiable` lists the others).
        BackendUnavailable: If the identifier is not installed.

    Example:
        >>> identify_languages(["The river is cold.", "Der Fluss ist kalt.", "12:30"], ["eng", "deu"])["language"].to_list()
        ['eng', 'deu', None]
    """
    identifier = copy.copy(_whole())
    names = {code: code for code in identifier.labels if code != _NO_LANGUAGE}
    if languages is not None:
        names = _names(languages)
        identifier.set_languages(list(names))
    found = [_best(identifier, text) for text in texts]
    rows = [(names[code], confidence) if code in names else (None, None) for code, confidence in found]
    return pl.DataFrame(rows, schema={"language": pl.String, "confidence": pl.Float64}, orient="row")


def _names(languages: Sequence[str]) -> dict[str, str]:
    """Code of the identifier -> code of the store, of languages that can be told apart."""
    known = identifiable(languages)
    unknown = [language for language in languages if language not in known]
    if unknown:
        raise OptionError(
            f"{IDENTIFIER.name} {IDENTIFIER.version} does not know these languages, or not apart: {', '.join(unknown)}; "
            f"it can tell {', '.join(known) or 'none of those named'}"
        )
    if len(known) < 2:
        raise OptionError(f"a text is identified among two languages or more; named: {', '.join(known) or 'none'}")
    return {str(_code(language)): language for language in known}


def _best(identifier: Any, text: str) -> tuple[str | None, float | None]:
    """The best code and its confidence; None where nothing in the text speaks for one language more than for the next."""
    if not any(character.isalpha() for character in text):
        return None, None
    (code, confidence), (_, second), *_ = identifier.rank(text)
    return (code, confidence) if confidence > second else (None, None)
