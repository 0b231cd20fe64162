-- experts_in_sets(checkpoint): experts that are also in a published set of language-specific neurons; mlp_pre and mlp_hidden count one and the same neurons
-- reads: experts, neuron_sets
CREATE MACRO experts_in_sets(ck) AS TABLE
SELECT p.name, e.concept, e.language AS expert_in, p.language AS specific_to, e.site, e.layer, e.neuron, e.rank, e.ap
FROM experts AS e JOIN neuron_sets AS p ON p.checkpoint = e.checkpoint AND p.layer = e.layer AND p.neuron = e.neuron
    AND (p.site = e.site OR p.site IN ('mlp_pre', 'mlp_hidden') AND e.site IN ('mlp_pre', 'mlp_hidden'))
WHERE e.checkpoint = ck
ORDER BY p.name, e.concept, e.language, e.rank, p.language;
