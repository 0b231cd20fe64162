"""What linear classifiers read off: by layer and step, between languages, and for which classes."""

from __future__ import annotations

from actlas.explore.view import Choice, Part, View, picture
from actlas.explore.views.pieces import FOLLOWED, checkpoint_with

_LABEL = Choice(
    "label",
    "What is read off",
    """SELECT DISTINCT details->>'label' AS label FROM settings
WHERE is_shown AND table_name IN ('probe', 'probe_classes', 'probe_controls', 'probe_transfer') AND label IS NOT NULL
ORDER BY label <> 'language', label""",
)
_SITE = Choice(
    "site", "Site", "SELECT DISTINCT site FROM site_dtypes WHERE checkpoint = $checkpoint ORDER BY site DESC", ("checkpoint",)
)

PROBE = View(
    "probe",
    "Probes",
    choices=(_LABEL, checkpoint_with("probe", "probe_classes", "probe_controls", "probe_transfer"), _SITE),
    about="What linear classifiers read off values and vectors of tokens, beside chance.",
    parts=(
        Part(
            "accuracy",
            "Accuracy by layer and step",
            f"""{FOLLOWED}
SELECT f.step, p.site, p.layer, p.accuracy, p.low, p.high, p.chance, p.n_seeds, f.checkpoint
FROM followed AS f JOIN (FROM probe_intervals()) AS p USING (checkpoint)
WHERE p.label = $label
ORDER BY f.position, p.site, p.layer""",
            picture("matrix", x="step", y="layer", value="accuracy", facet="site", low="low", high="high"),
            "Share of held-out vectors that the probe gets right: mean over seeds, with the 95 % interval of that mean.",
            {"step": "probe?label={label}&site={site}&checkpoint={checkpoint}"},
        ),
        Part(
            "by_checkpoint",
            "Accuracy over training",
            f"""{FOLLOWED}
SELECT f.step, p.site, p.accuracy, p.std_layers, p.std_seeds, p.n_layers, c.chance, f.checkpoint
FROM followed AS f JOIN (FROM probe_by_checkpoint()) AS p USING (checkpoint)
    JOIN (SELECT checkpoint, site, label, avg(chance) AS chance FROM probe GROUP BY checkpoint, site, label) AS c
        USING (checkpoint, site, label)
WHERE p.label = $label
ORDER BY f.position, p.site""",
            picture("lines", x="step", y="accuracy", series=["site"], dashed=["chance"]),
            "Mean over layers and seeds.",
        ),
        Part(
            "onset",
            "When 90 % of the best accuracy is reached",
            f"""{FOLLOWED}
SELECT o.site, o.layer, f.step AS first_at, o.accuracy, o.best, f.checkpoint
FROM (FROM probe_onset()) AS o JOIN followed AS f USING (checkpoint)
WHERE o.label = $label
ORDER BY o.site, o.layer""",
            about="The first checkpoint at which a layer reaches 90 % of the best that it ever has.",
        ),
        Part(
            "classes",
            "Accuracy for every class, at the checkpoint",
            """SELECT site, layer, truth, accuracy, taken_for, n
FROM probe_class_accuracy()
WHERE label = $label AND checkpoint = $checkpoint
ORDER BY site, layer, truth""",
            picture("matrix", x="truth", y="layer", value="accuracy", facet="site"),
            "Share of the vectors of each class that probes take for it; taken_for: what they take most of the others for.",
        ),
        Part(
            "confusion",
            "Which class is taken for which, at the checkpoint and site",
            """WITH counted AS (
    SELECT layer, truth, predicted, sum(n)::BIGINT AS n FROM probe_classes
    WHERE label = $label AND checkpoint = $checkpoint AND site = $site
    GROUP BY layer, truth, predicted
), grid AS (
    FROM (SELECT DISTINCT layer, truth FROM counted)
        CROSS JOIN (SELECT truth AS predicted FROM counted UNION SELECT predicted FROM counted)
)
SELECT layer, truth, predicted, coalesce(n, 0) AS n, coalesce(n, 0) / sum(n) OVER (PARTITION BY layer, truth) AS share
FROM grid LEFT JOIN counted USING (layer, truth, predicted)
ORDER BY layer, truth, predicted""",
            picture("matrix", x="predicted", y="truth", value="share", facet="layer"),
            "Shares of the vectors of a class, zeros included.",
        ),
        Part(
            "transfer",
            "From one language to another, at the checkpoint and site",
            """SELECT layer, language_train, language_test, avg(accuracy) AS accuracy, avg(chance) AS chance,
    count(*) AS n_seeds, sum(n_test)::BIGINT AS n_test
FROM probe_transfer AS t JOIN languages AS a ON a.language = t.language_train
    JOIN languages AS b ON b.language = t.language_test
WHERE label = $label AND checkpoint = $checkpoint AND site = $site
GROUP BY layer, language_train, language_test, a.position, b.position
ORDER BY layer, a.position, b.position""",
            picture("matrix", x="language_test", y="language_train", value="accuracy", facet="layer"),
            "Accuracy of a probe that was trained on texts of one language on texts of each: mean over seeds.",
        ),
        Part(
            "controls",
            "Beside labels that are drawn per kind of token",
            f"""{FOLLOWED}
SELECT f.step, p.site, p.layer, avg(p.accuracy) AS accuracy, avg(p.control) AS control_accuracy,
    avg(p.selectivity) AS selectivity, count(*) AS n_seeds, f.checkpoint
FROM followed AS f JOIN probe_controls AS p USING (checkpoint)
WHERE p.label = $label
GROUP BY f.step, f.position, f.checkpoint, p.site, p.layer
ORDER BY f.position, p.site, p.layer""",
            picture("matrix", x="step", y="layer", value="selectivity", facet="site"),
            "Selectivity: how much better a probe is than the same probe for labels that only tell kinds of tokens apart.",
        ),
        Part(
            "sharing",
            "Accuracy and shared experts",
            """SELECT over, checkpoint, layer, site, n, pearson, spearman
FROM probe_sharing()
WHERE label = $label
ORDER BY over DESC, checkpoint, layer, site""",
            about="Correlation of accuracy with the share of a layer's experts that languages share: over the layers of each"
            " checkpoint, and over the checkpoints of each layer.",
        ),
        Part(
            "effective_rank",
            "How many directions token vectors use",
            f"""{FOLLOWED}
SELECT f.step, e.site, e.layer, coalesce(e.language, 'all together') AS language, e.effective_rank, e.low, e.high,
    e.participation_ratio, e.n_vectors, e.n_channels, e.is_bounded, f.checkpoint
FROM followed AS f JOIN effective_rank AS e USING (checkpoint) LEFT JOIN languages AS l USING (language)
WHERE e.site = $site AND f.checkpoint = $checkpoint
ORDER BY l.position NULLS FIRST, e.layer""",
            picture("lines", x="layer", y="effective_rank", series=["language"], low="low", high="high"),
            "At the chosen checkpoint and site, with 95 % intervals. is_bounded: there are no more vectors than channels.",
        ),
    ),
)
