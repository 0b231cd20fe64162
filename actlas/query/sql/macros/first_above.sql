-- first_above(concept, x, m := 1): the first checkpoint, no control, at which a neuron has average precision above x in at least m languages
-- reads: scores, checkpoints
CREATE MACRO first_above(con, x, m := 1) AS TABLE
WITH counted AS (
    SELECT checkpoint, site, layer, neuron, count(*) AS n_languages, min(ap) AS ap_min
    FROM scores
    WHERE concept = con AND ap > x
    GROUP BY checkpoint, site, layer, neuron
)
SELECT site, layer, neuron, arg_min(checkpoint, position) AS checkpoint, arg_min(step, position) AS step,
    arg_min(n_languages, position) AS n_languages, arg_min(ap_min, position) AS ap_min
FROM counted JOIN checkpoints USING (checkpoint)
WHERE n_languages >= m AND control IS NULL
GROUP BY site, layer, neuron
ORDER BY min(position), site, layer, neuron;
