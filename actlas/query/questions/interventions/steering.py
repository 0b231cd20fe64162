"""What steered models wrote: in which languages, about which concept, and how much of that the controls do, too.

The macros of the same names hold the definitions; the functions give their rows.
"""

from __future__ import annotations

from pathlib import Path

import polars as pl

from actlas.query.atlas import Atlas, as_atlas


def steering_languages(store: Atlas | str | Path) -> pl.DataFrame:
    """In which languages texts are, by checkpoint, language of the experts and arm.

    The interval is Wilson's. Texts of one prompt and seed begin with the same random numbers, whatever is forced, and count as
    one draw: over several concepts together the interval is that of as many independent texts as would spread like the means of
    draws.

    Args:
        store: With table `generations`, or the path of such a store.

    Returns:
        The rows of macro `steering_languages`: checkpoint, step, concept (null: all together), language (of the experts), arm,
        text_language (null: the identifier could not tell), n_texts, n_draws (prompts times seeds), n, share, low and high (the
        ends of its 95 % interval). Every language of the store has a row, zeros included, so shares of an arm add up to 1.

    Raises:
        TableNotFound: If nothing was steered yet.

    Source: arXiv 2506.01629 (languages of texts under experts of one language, by step).

    Example:
        >>> steering_languages(store)
        Traceback (most recent call last):
        actlas.errors.TableNotFound: table generations was not computed yet: actlas steer ...
    """
    return as_atlas(store).sql("FROM steering_languages()")


def language_shift(store: Atlas | str | Path) -> pl.DataFrame:
    """How much more often texts are in a language under its own experts than under the controls.

    Texts are compared with those of the same concept, prompt and seed under the control. The interval is that of paired shares
    with two draws added, one for and one against (Bonett and Price 2012), so that it has a width where no draw differs.

    Args:
        store: With table `generations`, or the path of such a store.

    Returns:
        The rows of macro `language_shift`: checkpoint, step, concept (null: all together), language, control (the arm), n_draws
        (prompts times seeds), share (under the experts), control_share, shift (their difference), low and high (the ends of its
        95 % interval).

    Raises:
        TableNotFound: If nothing was steered yet.

    Source: arXiv 2506.01629.

    Example:
        >>> language_shift(store)
        Traceback (most recent call last):
        actlas.errors.TableNotFound: table generations was not computed yet: actlas steer ...
    """
    return as_atlas(store).sql("FROM language_shift()")


def concept_rate(store: Atlas | str | Path) -> pl.DataFrame:
    """In what share of texts a concept is, in every arm, and how much more of them under its experts.

    A text has a concept by one of its words, or by a probe that gives it a probability of 0.5 or more. Where one of these was
    not asked, or cannot say, the text counts in neither share. Differences are paired and have intervals as those of
    `language_shift`.

    Args:
        store: With table `generations`, or the path of such a store.

    Returns:
        The rows of macro `concept_rate`: checkpoint, step, concept (null: all together), language, arm, measure (words, probe),
        n_texts, n_known (of which the measure says something), rate, n_draws (prompts times seeds that the experts and this arm
        have in common), difference (experts - this arm), low and high (the ends of its 95 % interval). The last four say
        nothing in the row of the experts.

    Raises:
        TableNotFound: If nothing was steered yet.

    Source: arXiv 2110.02802 (presence of a concept under forced experts).

    Example:
        >>> concept_rate(store)
        Traceback (most recent call last):
        actlas.errors.TableNotFound: table generations was not computed yet: actlas steer ...
    """
    return as_atlas(store).sql("FROM concept_rate()")
