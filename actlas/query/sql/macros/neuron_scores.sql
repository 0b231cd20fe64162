-- neuron_scores(site, layer, neuron, concept): average precision of one neuron over all checkpoints and languages
-- reads: scores, checkpoints
CREATE MACRO neuron_scores(s, l, n, con) AS TABLE
SELECT checkpoint, step, language, ap
FROM scores JOIN checkpoints USING (checkpoint)
WHERE site = s AND layer = l AND neuron = n AND concept = con
ORDER BY position, language;
