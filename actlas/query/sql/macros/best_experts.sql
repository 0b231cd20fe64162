-- best_experts(checkpoint, language, concept, n := 10): the n best experts of a concept in a language
-- reads: experts
CREATE MACRO best_experts(ck, lang, con, n := 10) AS TABLE
SELECT rank, site, layer, neuron, ap
FROM experts
WHERE checkpoint = ck AND language = lang AND concept = con AND rank <= n
ORDER BY rank;
