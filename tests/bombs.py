"""Queries that would take a machine: some run for ever, some take all of its memory, in ways that DuckDB does not limit."""

from __future__ import annotations

#: What DuckDB bounds neither in time nor in memory by itself.
BOMBS = [
    "SELECT list_sum(range(1000000000))",
    "SELECT string_agg(repeat('x', 1000000)) FROM range(100000)",
    "SELECT array_agg(range) FROM range(1000000000)",
    "SELECT list_sort(range(1000000000))",
    "SELECT rpad('x', 2000000000, 'y')",
    "SELECT bit_count(repeat('1', 2000000000)::BIT)",
    "WITH RECURSIVE t AS (SELECT 'x' AS s UNION ALL SELECT s || s FROM t) SELECT max(length(s)) FROM t",
    "WITH RECURSIVE t AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM t) SELECT max(n) FROM t",
    "SELECT * FROM range(100000000000)",
    "SELECT sum(random()) FROM range(100000000000)",
    "SELECT count(*) FROM texts a, texts b, texts c, texts d, texts e WHERE hash(a.text, b.text, c.text, d.text, e.text) = 1",
    "SELECT regexp_replace(repeat('ab', 200000000), '(a|b)*c', 'x', 'g')",
    "SELECT list_transform(range(1000000000), lambda x: x + 1)",
    "SELECT histogram(random()) FROM range(1000000000)",
    "SELECT levenshtein(repeat('ab', 1000000), repeat('ba', 1000000))",
    "SELECT * FROM range(1000000) a, range(1000000) b ORDER BY random()",
    "SELECT sleep_ms(60000)",
]
