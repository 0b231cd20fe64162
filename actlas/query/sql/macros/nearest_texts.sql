-- nearest_texts(checkpoint, text_id, language, concept, k := 10, n := 10, metric := 'l2'): the texts nearest to one in the values of the k best experts of a concept in a language (l1, l2 or cosine), read from the cubes
-- reads: experts, activations, texts
CREATE MACRO nearest_texts(ck, near, lang, con, k := 10, n := 10, metric := 'l2') AS TABLE
WITH valued AS (
    SELECT a.site, a.layer, a.neuron, a.text_id, a.value::DOUBLE AS value
    FROM activations AS a JOIN experts AS e USING (checkpoint, site, layer, neuron)
    WHERE e.checkpoint = ck AND e.language = lang AND e.concept = con AND e.rank <= k
), summed AS (
    SELECT v.text_id, sum(abs(v.value - o.value)) AS l1, sqrt(sum((v.value - o.value) * (v.value - o.value))) AS l2,
        sum(v.value * o.value) AS product, sqrt(sum(v.value * v.value)) * sqrt(sum(o.value * o.value)) AS norms
    FROM valued AS v JOIN valued AS o USING (site, layer, neuron)
    WHERE o.text_id = near AND v.text_id <> near
    GROUP BY v.text_id
    HAVING count(v.value - o.value) = count(*)
), apart AS (
    SELECT text_id, CASE metric WHEN 'l1' THEN l1 WHEN 'l2' THEN l2 ELSE 1 - product / nullif(norms, 0) END AS distance FROM summed
)
SELECT row_number() OVER (ORDER BY d.distance, t.text_id)::INTEGER AS rank, d.distance, t.language, t.text_id, t.text
FROM apart AS d JOIN texts AS t ON t.text_id = d.text_id
WHERE d.distance IS NOT NULL
QUALIFY rank <= n
ORDER BY rank;
