-- lape_overlap(checkpoint_a, checkpoint_b): language-specific neurons that two checkpoints have in common, per language
-- reads: lape, languages
CREATE MACRO lape_overlap(ck_a, ck_b) AS TABLE
WITH a AS (SELECT language, site, layer, neuron FROM lape WHERE checkpoint = ck_a),
    b AS (SELECT language, site, layer, neuron FROM lape WHERE checkpoint = ck_b),
    both_sets AS (SELECT language, count(*) AS shared FROM a JOIN b USING (language, site, layer, neuron) GROUP BY language),
    size_a AS (SELECT language, count(*) AS n_a FROM a GROUP BY language),
    size_b AS (SELECT language, count(*) AS n_b FROM b GROUP BY language)
SELECT language, coalesce(n_a, 0) AS n_a, coalesce(n_b, 0) AS n_b, coalesce(shared, 0) AS shared,
    coalesce(shared, 0) / nullif(coalesce(n_a, 0) + coalesce(n_b, 0) - coalesce(shared, 0), 0)::DOUBLE AS jaccard
FROM languages LEFT JOIN size_a USING (language) LEFT JOIN size_b USING (language) LEFT JOIN both_sets USING (language)
ORDER BY position;
