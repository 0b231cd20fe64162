-- first_shared_by_concept(m := 2): the same as first_shared, of all concepts at once
-- reads: expert_mask, checkpoints
CREATE MACRO first_shared_by_concept(m := 2) AS TABLE
SELECT concept, site, layer, neuron, arg_min(checkpoint, position) AS checkpoint, arg_min(step, position) AS step,
    arg_min(n_languages, position) AS n_languages
FROM expert_mask JOIN checkpoints USING (checkpoint)
WHERE word = 0 AND n_languages >= m AND control IS NULL
GROUP BY concept, site, layer, neuron
ORDER BY concept, min(position), site, layer, neuron;
