-- neuron_activity(site, layer, neuron): in which share of the tokens of each language a neuron is active, over all checkpoints, beside the entropy of these shares
-- reads: token_activity, languages, checkpoints
CREATE MACRO neuron_activity(s, l, n) AS TABLE
SELECT t.checkpoint, c.step, g.language, t.p_active[g.position + 1] AS p_active, t.entropy
FROM token_activity AS t JOIN checkpoints AS c USING (checkpoint) CROSS JOIN languages AS g
WHERE t.site = s AND t.layer = l AND t.neuron = n
ORDER BY c.position, g.position;
