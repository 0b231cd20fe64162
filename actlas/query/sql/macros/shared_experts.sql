-- shared_experts(checkpoint, concept, m := 2): neurons that are experts in at least m languages, with those languages
-- reads: expert_mask, languages
CREATE MACRO shared_experts(ck, con, m := 2) AS TABLE
SELECT site, layer, neuron, any_value(n_languages) AS n_languages, list(language ORDER BY position) AS languages
FROM expert_mask JOIN languages USING (word)
WHERE checkpoint = ck AND concept = con AND n_languages >= m AND ((mask >> bit::UBIGINT) & 1) = 1
GROUP BY site, layer, neuron
ORDER BY n_languages DESC, site, layer, neuron;
