"""A query of one's own, and what it can name."""

from __future__ import annotations

from actlas.explore.view import Choice, Part, View
from actlas.query.index import QUESTIONS
from actlas.query.sql.guard import quoted

#: What a query asks -> the query. Each makes sense of any store whose experts and overlap were computed.
SAVED = {
    "Which concepts share the most experts, by checkpoint": """SELECT checkpoint, concept,
    avg(overlap) AS overlap, avg(chance) AS chance
FROM overlap JOIN checkpoints USING (checkpoint)
GROUP BY checkpoint, position, concept ORDER BY position, overlap DESC""",
    "Neurons that are experts of one concept in every language": """SELECT checkpoint, concept, site, layer, neuron,
    avg(ap) AS ap
FROM experts
GROUP BY checkpoint, concept, site, layer, neuron
HAVING count(*) = (SELECT count(*) FROM languages) ORDER BY ap DESC""",
    "The best expert of every concept and language at the last checkpoint": """SELECT concept, language, site, layer, neuron, ap
FROM experts
WHERE rank = 1 AND checkpoint = (SELECT arg_max(checkpoint, position) FROM checkpoints) ORDER BY ap DESC""",
    "Pairs of languages, from most to least shared": """SELECT language_a, language_b,
    avg(overlap) AS overlap, avg(ceiling) AS ceiling
FROM overlap
WHERE checkpoint = (SELECT arg_max(checkpoint, position) FROM checkpoints) GROUP BY ALL ORDER BY overlap DESC""",
    "Where experts sit, over training": """SELECT step, site, layer, sum(n_experts) AS n_experts
FROM layer_histogram JOIN checkpoints USING (checkpoint)
GROUP BY position, step, site, layer ORDER BY position, site, layer""",
    "The longest texts": "SELECT language, n_tokens, text_id, text FROM texts ORDER BY n_tokens DESC LIMIT 20",
}
_SAVED = ",\n    ".join(f"({quoted(asked)}, {quoted(query)})" for asked, query in SAVED.items())
_MACROS = ",\n    ".join(f"({quoted(one.topic)}, {quoted(one.about)}, {quoted(one.sql)})" for one in QUESTIONS if one.is_macro)

SQL = View(
    "sql",
    "SQL",
    choices=(Choice("query", "Query", ""),),
    about="One SELECT over the tables and macros of this store. Nothing can be written.",
    parts=(
        Part(
            "saved",
            "Questions to begin with",
            f"SELECT asked, query FROM (VALUES {_SAVED}) AS saved (asked, query)",
            links={"asked": "sql?query={query}"},
        ),
        Part("tables", "Tables", "SHOW TABLES", links={"name": "sql?query=FROM%20{name}%20LIMIT%20100"}),
        Part(
            "questions",
            "Questions with arguments",
            f"SELECT topic, asked, query FROM (VALUES {_MACROS}) AS macros (topic, asked, query)",
            about="Macros, called like tables. Write what you ask about in place of the arguments: 'water' for concept, and"
            " so on.",
            links={"query": "sql?query={query}"},
        ),
        Part(
            "columns",
            "Columns",
            """SELECT table_name, column_name, data_type, comment
FROM duckdb_columns()
WHERE NOT internal AND comment IS NOT NULL
ORDER BY table_name, column_index""",
        ),
    ),
)
