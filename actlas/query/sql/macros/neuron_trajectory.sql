-- neuron_trajectory(site, layer, neuron): average precision of one neuron for all concepts in all languages, over all checkpoints but controls
-- reads: scores, checkpoints
CREATE MACRO neuron_trajectory(s, l, n) AS TABLE
SELECT checkpoint, step, language, concept, ap
FROM scores JOIN checkpoints USING (checkpoint)
WHERE site = s AND layer = l AND neuron = n AND control IS NULL
ORDER BY position, language, concept;
