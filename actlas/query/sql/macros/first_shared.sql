-- first_shared(concept, m := 2): the first checkpoint, no control, at which a neuron is an expert in at least m languages
-- reads: expert_mask, checkpoints
CREATE MACRO first_shared(con, m := 2) AS TABLE
SELECT concept, site, layer, neuron, arg_min(checkpoint, position) AS checkpoint, arg_min(step, position) AS step,
    arg_min(n_languages, position) AS n_languages
FROM expert_mask JOIN checkpoints USING (checkpoint)
WHERE concept = con AND word = 0 AND n_languages >= m AND control IS NULL
GROUP BY concept, site, layer, neuron
ORDER BY min(position), site, layer, neuron;
