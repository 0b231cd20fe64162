"""What a model wrote while neurons were forced, and what it answered with latents of another prompt put in."""

from __future__ import annotations

from actlas.explore.view import Choice, Part, View, picture
from actlas.explore.views.pieces import CONCEPT, FOLLOWED, LANGUAGE, checkpoint_with

_CONCEPT = Choice(
    "concept",
    "Concept",
    """SELECT DISTINCT concept FROM label_counts
ORDER BY concept IN (SELECT concept FROM generations) DESC, concept""",
    otherwise=CONCEPT.sql,
)
_LANGUAGE = Choice(
    "language",
    "Language",
    "SELECT language FROM languages ORDER BY language IN (SELECT language FROM generations) DESC, position",
    otherwise=LANGUAGE.sql,
)

INTERVENTIONS = View(
    "interventions",
    "Interventions",
    choices=(_CONCEPT, _LANGUAGE, checkpoint_with("generations", "patches")),
    about="What a model writes while experts are forced, and how it answers with latents of another prompt put in, beside"
    " controls.",
    parts=(
        Part(
            "concept_rate",
            "How often texts are about a concept",
            """SELECT coalesce(concept, 'all together') || ', by ' || measure AS told, arm, rate, n_known, n_texts,
    difference, low, high, n_draws
FROM concept_rate()
WHERE checkpoint = $checkpoint AND language = $language
ORDER BY concept NULLS FIRST, measure DESC, arm""",
            picture("bars", x="told", y="rate", series=["arm"]),
            "With experts in the chosen language. difference: how much more often with the concept's experts forced"
            " than in the arm, paired by prompt and seed, with the 95 % interval.",
        ),
        Part(
            "languages",
            "Which languages texts are in",
            """SELECT arm, s.language, coalesce(text_language, 'not told') AS text_language, share, low, high, n, n_texts, n_draws
FROM steering_languages() AS s
WHERE checkpoint = $checkpoint AND concept IS NULL
ORDER BY arm, s.language, s.text_language NULLS LAST""",
            picture("matrix", x="text_language", y="language", value="share", facet="arm", low="low", high="high"),
            "All concepts together: language is that of the experts, text_language that of the text. With 95 % intervals.",
        ),
        Part(
            "language_shift",
            "How much more often texts are in the language of the experts",
            """SELECT coalesce(concept, 'all together') AS concept, control, shift, low, high, share, control_share, n_draws
FROM language_shift() AS s
WHERE checkpoint = $checkpoint AND language = $language
ORDER BY s.concept NULLS FIRST, control""",
            picture("bars", x="concept", y="shift", series=["control"], low="low", high="high"),
            "With experts in the chosen language, beside each control arm, paired by prompt and seed, with the 95 % interval.",
        ),
        Part(
            "texts",
            "What was written",
            """SELECT arm, coalesce(prompt, '') AS prompt, text, coalesce(text_language, 'not told') AS text_language,
    has_word, probe_p, is_finished, n_tokens, k, on_value, experts_of, seed
FROM generations
WHERE checkpoint = $checkpoint AND concept = $concept AND language = $language
ORDER BY seed, prompt, arm""",
            about="For the chosen concept and language of experts. Texts of one seed and prompt begin with the same random"
            " numbers.",
        ),
        Part(
            "patching",
            "Latents put in, by the first patched layer",
            """WITH means AS (FROM patching_by_layer() WHERE checkpoint = $checkpoint AND language = language_out), bare AS (
    SELECT language_in, language_out, p_source, p_target FROM means WHERE setting = 'unpatched'
)
SELECT m.layer, concat_ws(' ', language_in, 'to', language_out) AS translation, m.setting, m.p_source, m.p_source_low,
    m.p_source_high, b.p_source AS nothing_put_in, m.p_target, m.p_target_low, m.p_target_high,
    b.p_target AS p_target_nothing_put_in, m.difference, m.difference_low, m.difference_high, m.n_pairs
FROM means AS m LEFT JOIN bare AS b USING (language_in, language_out)
WHERE m.layer IS NOT NULL
ORDER BY translation, m.setting, m.layer""",
            picture(
                "lines",
                x="layer",
                y="p_source",
                series=["translation", "setting"],
                low="p_source_low",
                high="p_source_high",
                dashed=["nothing_put_in"],
            ),
            "Probability of words of the concept whose latents were put in (source), in the language that is asked for: means"
            " with 95 % intervals over pairs. target: the prompt's own concept. tgt_tgt: the prompt's own latents, a control.",
        ),
        Part(
            "patching_languages",
            "The same for words of every language",
            """SELECT layer, language, concat_ws(' ', language_in, 'to', language_out, setting) AS put_in, p_source, p_source_low,
    p_source_high, p_target, difference, n_pairs
FROM patching_by_layer()
WHERE checkpoint = $checkpoint AND layer IS NOT NULL
ORDER BY put_in, layer, language""",
            picture(
                "matrix", x="layer", y="language", value="p_source", facet="put_in", low="p_source_low", high="p_source_high"
            ),
            "Probability of words of the source concept in each language.",
        ),
        Part(
            "patching_onset",
            "Where the concept of the latents wins",
            f"""{FOLLOWED}
SELECT f.step, p.language_in, p.language_out, p.setting, p.n_won, p.n_layers, p.first_layer, p.last_layer, p.most,
    p.layer_of_most, p.first_step, p.n_pairs, f.checkpoint
FROM followed AS f JOIN (FROM patching_onset()) AS p USING (checkpoint)
ORDER BY f.position, p.language_in, p.language_out, p.setting""",
            about="Layers from which on the source concept is more probable than the target, by more than the 95 % interval.",
        ),
    ),
)
