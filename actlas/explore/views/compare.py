"""Two checkpoints side by side: two steps, a model and its twin, or a model and a control that is a store of its own.

With a second store, every query names its tables by its label, as ``actlas sql STORE --with LABEL=OTHER`` takes them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from actlas.explore.view import Choice, Part, View, picture
from actlas.explore.views.pieces import checkpoint_with
from actlas.query.sql.guard import identifier, quoted
from actlas.query.sql.macro import macros

_DISTANCE = Part(
    "distance",
    "How far apart the weights are",
    """WITH apart AS (
    SELECT checkpoint, previous AS beside, module, distance_previous AS distance, cosine_previous AS cosine, relative_error
    FROM parameter_space
    UNION ALL
    SELECT checkpoint, last, module, distance_last, cosine_last, relative_error FROM parameter_space
), known AS (
    SELECT module, min(distance) AS distance, min(cosine) AS cosine, min(relative_error) AS relative_error
    FROM apart
    WHERE (checkpoint = $checkpoint AND beside = $other) OR (checkpoint = $other AND beside = $checkpoint)
    GROUP BY module
)
SELECT p.layer, p.kind, p.module, p.n_weights, k.distance, k.distance / nullif(p.norm, 0) AS relative_distance, k.cosine,
    k.relative_error
FROM known AS k JOIN parameter_space AS p USING (module)
WHERE p.checkpoint = $other
ORDER BY p.layer NULLS FIRST, p.module""",
    picture("lines", x="layer", y="relative_distance", series=["kind"]),
    "Relative to the norm at the second. Known between neighbours in the order of steps, and between a checkpoint"
    " and the last: no row if the two are neither, no number for vectors.",
)


@dataclass(frozen=True)
class _Sides:
    """Where the two checkpoints are.

    Attributes:
        store: Label of the store that is looked at.
        beside: Label of the other one; "" where both are in one.
    """

    store: str
    beside: str

    @property
    def them(self) -> str:
        """What stands before a table of the second."""
        return f"{identifier(self.beside)}." if self.beside else ""

    @property
    def told_by(self) -> str:
        """The column that tells the two apart: two stores may call checkpoints the same."""
        return "store" if self.beside else "checkpoint"

    @property
    def shown(self) -> str:
        return "two.store, two.checkpoint" if self.beside else "two.checkpoint"

    def two(self, table: str) -> str:
        """The rows of a table that are about the two: place is 1 and 2."""
        if not self.beside:
            places = "(SELECT 1 AS place, $checkpoint AS checkpoint UNION ALL SELECT 2, $other WHERE $other <> $checkpoint)"
            return f"(SELECT * FROM {places} JOIN {table} USING (checkpoint)) AS two"
        first = f"SELECT 1 AS place, {quoted(self.store)} AS store, * FROM {table} WHERE checkpoint = $checkpoint"
        second = f"SELECT 2 AS place, {quoted(self.beside)} AS store, * FROM {self.them}{table} WHERE checkpoint = $other"
        return f"({first}\n    UNION ALL BY NAME {second}) AS two"

    def where(self, *conditions: str) -> str:
        """WHERE with those conditions that two stores have to meet; "" where there is one."""
        return f"WHERE {f'{chr(10)}AND '.join(conditions)}\n" if self.beside else ""

    def has_both(self, what: str, key: str, here: str, there: str) -> str:
        """A condition that is true, or ends the query with one line where two stores have nothing of a kind in common."""
        said = f"{self.store} and {self.beside} have no {what} in common: "
        names = [
            f"(SELECT coalesce(string_agg(DISTINCT {key}, ', ' ORDER BY {key}), 'none') FROM {one})" for one in (here, there)
        ]
        return (
            f"CASE WHEN EXISTS (SELECT {key} FROM {here} INTERSECT SELECT {key} FROM {there}) THEN true\n"
            f"    ELSE error({quoted(said)} || {names[0]} || {quoted(f' in {self.store}, ')} || {names[1]}\n"
            f"    || {quoted(f' in {self.beside}')}) END"
        )

    def sites(self) -> str:
        """`has_both` of sites, which are the same where they have as many layers and neurons."""
        key = "concat(site, ' of ', n_layers, ' x ', n_neurons)"
        here, there = "sites WHERE checkpoint = $checkpoint", f"{self.them}sites WHERE checkpoint = $other"
        return self.has_both("site", key, here, there)

    def languages(self) -> str:
        """`has_both` of languages."""
        return self.has_both("language", "language", "languages", f"{self.them}languages")

    def concepts(self) -> str:
        """`has_both` of concepts."""
        return self.has_both("concept", "concept", "label_counts", f"{self.them}label_counts")


def compare(stores: Sequence[str] = (), beside: str | None = None) -> View:
    """The view, of one store or of two.

    Args:
        stores: Labels of stores that can be chosen, the one that is looked at first; none where there is only that.
        beside: Label of the store that the second checkpoint is in.
    """
    own, *others = stores or ("",)
    sides = _Sides(own, beside if beside in others else "")
    listed = ", ".join(map(quoted, stores))
    store = Choice("beside", "Beside: store", f"SELECT unnest([{listed}]) AS store")
    return View(
        "compare",
        "Compare",
        choices=(checkpoint_with("experts", "overlap"), *([store] if others else []), _other(sides)),
        about="Two checkpoints side by side: two steps of training, or a model and its control, which another store may hold.",
        parts=(
            _checkpoints(sides),
            _differences(sides),
            _overlap(sides),
            _controls(sides),
            _experts(sides),
            _probe(sides),
            _weights(sides),
            *([] if sides.beside else [_DISTANCE]),
        ),
    )


def _other(sides: _Sides) -> Choice:
    """The second checkpoint: in another store that of the same step, or of the same name, first."""
    if not sides.beside:
        order = "checkpoint = $checkpoint, control IS NULL, position"
    else:
        step = "(SELECT step FROM checkpoints WHERE checkpoint = $checkpoint)"
        order = f"coalesce(step = {step}, false) DESC, checkpoint = $checkpoint DESC, control IS NOT NULL, position DESC"
    label = "Beside: checkpoint" if sides.beside else "Beside"
    return Choice("other", label, f"SELECT checkpoint FROM {sides.them}checkpoints\nORDER BY {order}", needs=("checkpoint",))


def _checkpoints(sides: _Sides) -> Part:
    return Part(
        "checkpoints",
        "The two checkpoints",
        f"""SELECT {sides.shown}, two.model, two.step, two.control, two.sanity_loss, two.weight_hash,
    count(*) OVER (PARTITION BY two.weight_hash) > 1 AND two.weight_hash IS NOT NULL AS has_same_weights
FROM {sides.two("checkpoints")}
ORDER BY two.place""",
    )


def _differences(sides: _Sides) -> Part:
    """What has to be the same for numbers of two checkpoints to be held against each other."""

    def facts(prefix: str, name: str) -> str:
        selects = [f"SELECT 'step' AS what, step::VARCHAR AS name FROM {prefix}checkpoints WHERE checkpoint = {name}"]
        sites = "concat(site, ' of ', n_layers, ' x ', n_neurons)"
        selects.append(f"SELECT 'site', {sites} FROM {prefix}sites WHERE checkpoint = {name}")
        if sides.beside:
            selects.append(f"SELECT 'language', concat(language, ' with ', n_texts, ' texts') FROM {prefix}languages")
            selects.append(f"SELECT DISTINCT 'concept', concept FROM {prefix}label_counts")
        return "\n    UNION ALL ".join(selects)

    return Part(
        "differences",
        "What only one of the two has",
        f"""WITH here AS (
    {facts("", "$checkpoint")}
), there AS (
    {facts(sides.them, "$other")}
), apart AS (
    SELECT 1 AS place, * FROM (FROM here EXCEPT FROM there) UNION ALL SELECT 2, * FROM (FROM there EXCEPT FROM here)
)
SELECT what, string_agg(name, ', ' ORDER BY name) FILTER (place = 1) AS first,
    string_agg(name, ', ' ORDER BY name) FILTER (place = 2) AS second
FROM apart GROUP BY what
ORDER BY what""",
        about="What is below is of what both have. No row: all of it is the same.",
    )


def _overlap(sides: _Sides) -> Part:
    pair = "two.concept, least(two.language_a, two.language_b), greatest(two.language_a, two.language_b)"
    common = f"\n    QUALIFY count(*) OVER (PARTITION BY {pair}) = 2" if sides.beside else ""
    fits = sides.where(sides.languages(), sides.concepts())
    return Part(
        "overlap",
        "What languages share at each",
        f"""WITH pairs AS (
    SELECT two.* FROM {sides.two("overlap")}{common}
)
SELECT two.concept, {sides.shown}, avg(two.overlap) AS overlap, avg(two.chance) AS chance, avg(two.ceiling) AS ceiling,
    avg(two.cross_half) AS cross_half, count(two.overlap) AS n_pairs, max(two.k) AS k
FROM pairs AS two
{fits}GROUP BY two.concept, {sides.shown}, two.place
ORDER BY round(avg(avg(two.overlap)) OVER (PARTITION BY two.concept), 12) DESC NULLS LAST, two.concept, two.place""",
        picture("bars", x="concept", y="overlap", series=[sides.told_by], dashed=["chance"]),
        "Mean over pairs of languages of the share of experts that both have, the concept with the most overlap first."
        " Dashed: chance.",
        # a link leads to the store that is looked at
        {} if sides.beside else {"concept": "concept?concept={concept}&checkpoint={checkpoint}"},
    )


def _controls(sides: _Sides) -> Part:
    return Part(
        "controls",
        "The mean of all concepts at each",
        f"""SELECT {sides.shown}, two.overlap, two.low, two.high, two."null", two.null_sd, two.p_value, two.other_concept,
    two.chance, two.ceiling, two.cross_half, two.corrected_ratio, two.n_pairs, two.n_concepts, two.k
FROM {sides.two("overlap_controls")}
ORDER BY two.place""",
        about="With the 95 % interval, and the mean overlap for labels without meaning.",
    )


def _experts(sides: _Sides) -> Part:
    them = sides.them
    same = " Neurons are the same by their places alone, which means something where both began with the same weights."
    return Part(
        "experts",
        "Experts that the two have in common",
        f"""WITH a AS (SELECT language, concept, site, layer, neuron, rank FROM experts WHERE checkpoint = $checkpoint),
    b AS (
        SELECT language, concept, site, layer, neuron, rank FROM {them}experts
        WHERE checkpoint = $other
    ),
    least_k AS (SELECT least((SELECT max(rank) FROM a), (SELECT max(rank) FROM b)) AS k),
    common AS (
        SELECT language, concept, count(*) AS shared
        FROM a JOIN b USING (language, concept, site, layer, neuron), least_k
        WHERE a.rank <= k AND b.rank <= k GROUP BY language, concept
    ),
    there AS (SELECT language, concept FROM a WHERE rank = 1 INTERSECT SELECT language, concept FROM b WHERE rank = 1)
SELECT t.concept, t.language, coalesce(c.shared, 0) AS n_common, coalesce(c.shared, 0) / k::DOUBLE AS share_common, k
FROM there AS t CROSS JOIN least_k LEFT JOIN common AS c USING (language, concept) JOIN languages AS l USING (language)
{sides.where(sides.sites())}ORDER BY sum(n_common) OVER (PARTITION BY t.concept) DESC, t.concept, l.position""",
        picture("matrix", x="language", y="concept", value="share_common"),
        "Share of the k best neurons at one that are among the k best at the other, zeros included."
        + (same if sides.beside else ""),
    )


def _probe(sides: _Sides) -> Part:
    there = f"({_intervals(sides.them)})" if sides.beside else "probe_intervals()"
    return Part(
        "probe",
        "Accuracy of probes",
        f"""WITH a AS (FROM probe_intervals() WHERE checkpoint = $checkpoint),
b AS (FROM {there} WHERE checkpoint = $other)
SELECT a.label, a.site, a.layer, a.accuracy, b.accuracy AS accuracy_beside, a.accuracy - b.accuracy AS difference,
    a.low, a.high, b.low AS low_beside, b.high AS high_beside, a.chance
FROM a JOIN b USING (label, site, layer)
ORDER BY a.label, a.site, a.layer""",
        picture("lines", x="layer", y="difference", series=["label", "site"]),
        "Mean over seeds at the first and at the second checkpoint, and their difference; with 95 % intervals.",
        {"label": "probe?label={label}"},
    )


def _intervals(them: str) -> str:
    """What `probe_intervals` asks, of another store: macros are of the store that is looked at."""
    select = macros()["probe_intervals"].sql.partition("AS TABLE")[2].strip().removesuffix(";")
    return select.replace("FROM probe ", f"FROM {them}probe ").replace("JOIN checkpoints ", f"JOIN {them}checkpoints ")


def _weights(sides: _Sides) -> Part:
    return Part(
        "weights",
        "Weights",
        f"""SELECT a.layer, a.kind, a.module, a.n_weights, a.norm, b.norm AS norm_beside, a.stable_rank,
    b.stable_rank AS stable_rank_beside, a.effective_rank, b.effective_rank AS effective_rank_beside
FROM weights AS a JOIN {sides.them}weights AS b USING (module)
WHERE a.checkpoint = $checkpoint AND b.checkpoint = $other
ORDER BY a.layer NULLS FIRST, a.module""",
        about="Every weight tensor at both: its norm, and how many directions it uses.",
    )


COMPARE = compare()
