-- language_experts(checkpoint): experts that are also language-specific by LAPE; mlp_pre and mlp_hidden count one and the same neurons
-- reads: experts, lape
CREATE MACRO language_experts(ck) AS TABLE
SELECT e.concept, e.language AS expert_in, p.language AS specific_to, e.site, e.layer, e.neuron, e.rank, e.ap, p.entropy
FROM experts AS e JOIN lape AS p ON p.checkpoint = e.checkpoint AND p.layer = e.layer AND p.neuron = e.neuron
    AND (p.site = e.site OR p.site IN ('mlp_pre', 'mlp_hidden') AND e.site IN ('mlp_pre', 'mlp_hidden'))
WHERE e.checkpoint = ck
ORDER BY e.concept, e.language, e.rank, p.language;
