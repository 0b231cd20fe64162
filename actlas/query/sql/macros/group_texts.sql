-- group_texts(checkpoint, language, concept, k := 10, n := 10, combine := 'mean'): the texts for which the k best experts of a concept in a language have the highest values together (mean, sum, min, max or l2), read from the cubes
-- reads: experts, activations, texts
CREATE MACRO group_texts(ck, lang, con, k := 10, n := 10, combine := 'mean') AS TABLE
WITH combined AS (
    SELECT a.text_id, avg(a.value::DOUBLE) AS mean, sum(a.value::DOUBLE) AS total, min(a.value::DOUBLE) AS least,
        max(a.value::DOUBLE) AS most, sqrt(sum(a.value::DOUBLE * a.value::DOUBLE)) AS l2
    FROM activations AS a JOIN experts AS e USING (checkpoint, site, layer, neuron)
    WHERE e.checkpoint = ck AND e.language = lang AND e.concept = con AND e.rank <= k
    GROUP BY a.text_id
    HAVING count(a.value) = count(*)
), valued AS (
    SELECT text_id, CASE combine WHEN 'mean' THEN mean WHEN 'sum' THEN total WHEN 'min' THEN least WHEN 'max' THEN most ELSE l2 END AS value
    FROM combined
)
SELECT row_number() OVER (ORDER BY v.value DESC, t.text_id)::INTEGER AS rank, v.value, t.language, t.text_id, t.text
FROM valued AS v JOIN texts AS t ON t.text_id = v.text_id
QUALIFY rank <= n
ORDER BY rank;
