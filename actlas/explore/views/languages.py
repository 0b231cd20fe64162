"""Neurons of languages: which, where, since when, what they do, and what acting on them changes."""

from __future__ import annotations

from actlas.explore.view import Choice, Part, View, picture
from actlas.explore.views.pieces import FOLLOWED, LANGUAGE, checkpoint_with
from actlas.names import INTERVENTIONS
from actlas.query.sql.guard import quoted

_OTHER = Choice(
    "other",
    "Beside",
    "SELECT checkpoint FROM checkpoints ORDER BY checkpoint = $checkpoint, control IS NOT NULL, position DESC",
    needs=("checkpoint",),
)
_KNOWN = f"[{', '.join(map(quoted, INTERVENTIONS))}]"
_INTERVENTION = Choice(
    "intervention",
    "Intervention",
    f"""SELECT intervention FROM (SELECT unnest({_KNOWN}) AS intervention)
ORDER BY intervention IN (SELECT intervention FROM neuron_effects WHERE checkpoint = $checkpoint) DESC,
    list_position({_KNOWN}, intervention)""",
    needs=("checkpoint",),
    otherwise=f"SELECT unnest({_KNOWN}) AS intervention",
)
_LINK = "neuron?checkpoint={checkpoint}&site={site}&layer={layer}&neuron={neuron}"

LANGUAGES = View(
    "languages",
    "Language neurons",
    choices=(LANGUAGE, checkpoint_with("lape", "token_activity", "neuron_effects"), _OTHER, _INTERVENTION),
    about="Neurons that are active for few languages (LAPE), how active they are, and what acting on them changes.",
    parts=(
        Part(
            "by_layer",
            "Language neurons by layer",
            """WITH counted AS (
    SELECT site, layer, language, count(*) AS n_neurons FROM lape WHERE checkpoint = $checkpoint GROUP BY site, layer, language
), places AS (
    SELECT site, unnest(range(n_layers))::INTEGER AS layer FROM sites
    WHERE checkpoint = $checkpoint AND site IN (SELECT site FROM lape WHERE checkpoint = $checkpoint)
)
SELECT p.site, p.layer, l.language, coalesce(c.n_neurons, 0) AS n_neurons
FROM places AS p CROSS JOIN languages AS l LEFT JOIN counted AS c USING (site, layer, language)
ORDER BY p.site, p.layer, l.position""",
            picture("bars", x="layer", y="n_neurons", series=["language"]),
            "Neurons with low entropy of activation probability over languages, counted for every language that they are"
            " specific to.",
        ),
        Part(
            "by_step",
            "Language neurons over training",
            f"""{FOLLOWED}, counted AS (
    SELECT checkpoint, language, count(*) AS n_neurons FROM lape GROUP BY checkpoint, language
)
SELECT f.step, l.language, coalesce(c.n_neurons, 0) AS n_neurons, f.checkpoint
FROM followed AS f CROSS JOIN languages AS l LEFT JOIN counted AS c USING (checkpoint, language)
WHERE f.checkpoint IN (SELECT checkpoint FROM lape)
ORDER BY f.position, l.position""",
            picture("lines", x="step", y="n_neurons", series=["language"]),
        ),
        Part(
            "neurons",
            "Neurons of the chosen language",
            """SELECT site, layer, neuron, p_active, entropy
FROM language_mask($checkpoint, $language)
ORDER BY entropy, site, layer, neuron""",
            about="The most specific first. p_active: share of the language's tokens on which the neuron is active.",
            links={"neuron": _LINK},
        ),
        Part(
            "activity",
            "How active they are in every language",
            """WITH own AS (
    SELECT site, layer, neuron, entropy FROM language_mask($checkpoint, $language)
    ORDER BY entropy, site, layer, neuron LIMIT 30
)
SELECT concat_ws('/', o.site, o.layer, o.neuron) AS place, l.language, t.p_active[l.position + 1] AS p_active, o.entropy,
    o.site, o.layer, o.neuron
FROM own AS o JOIN token_activity AS t USING (site, layer, neuron) CROSS JOIN languages AS l
WHERE t.checkpoint = $checkpoint
ORDER BY o.entropy, o.site, o.layer, o.neuron, l.position""",
            picture("matrix", x="language", y="place", value="p_active"),
            "The 30 most specific neurons of the chosen language: share of the tokens of each language on which they are active.",
            {"place": _LINK},
        ),
        Part(
            "all_activity",
            "How active all neurons of a layer are",
            """SELECT t.site, t.layer, l.language, avg(t.p_active[l.position + 1]) AS p_active_mean, count(*) AS n_neurons
FROM token_activity AS t CROSS JOIN languages AS l
WHERE t.checkpoint = $checkpoint
GROUP BY t.site, t.layer, l.language, l.position
ORDER BY t.site, t.layer, l.position""",
            picture("lines", x="layer", y="p_active_mean", series=["language"]),
            "Mean over the neurons of a layer of the share of a language's tokens on which they are active.",
        ),
        Part(
            "overlap",
            "What two checkpoints have in common",
            "FROM lape_overlap($other, $checkpoint)",
            picture("bars", x="language", y="jaccard"),
            "n_a: neurons at the checkpoint beside; n_b: at the chosen one; shared: at both.",
        ),
        Part(
            "experts",
            "Concepts whose experts are language neurons",
            """SELECT concept, count(DISTINCT (site, layer, neuron)) AS n_neurons,
    count(DISTINCT (site, layer, neuron)) FILTER (expert_in = specific_to) AS n_in_that_language, min(rank) AS best_rank
FROM language_experts($checkpoint)
GROUP BY concept
ORDER BY n_neurons DESC, concept""",
            about="n_in_that_language: experts in the language that they are specific to.",
            links={"concept": "concept?concept={concept}"},
        ),
        Part(
            "published",
            "Concepts whose experts are in published sets",
            """SELECT name, specific_to, concept, count(DISTINCT (site, layer, neuron)) AS n_neurons, min(rank) AS best_rank
FROM experts_in_sets($checkpoint)
GROUP BY name, specific_to, concept
ORDER BY n_neurons DESC, name, specific_to, concept""",
        ),
        Part(
            "effects",
            "What acting on the neurons of a language changes",
            """SELECT concat_ws(' ', source, concept) AS sets, set_language, language, n_neurons, excess, change, low, high,
    random_mean, random_sd, p_more, p_less, n_random
FROM language_effects($checkpoint, $intervention)
ORDER BY source, concept NULLS FIRST, set_language, language""",
            picture("matrix", x="language", y="set_language", value="excess", facet="sets"),
            "Change of the loss on texts of each language, less that of random sets of as many neurons; with the 95 %"
            " interval of the change.",
        ),
        Part(
            "set_effects",
            "Are they needed, and are they enough",
            "FROM set_effects($checkpoint)",
            about="Beyond random sets: necessity is what the loss on texts of their language rises by without them,"
            " selectivity how much more than on others, sufficiency what it falls by if they are amplified.",
        ),
    ),
)
