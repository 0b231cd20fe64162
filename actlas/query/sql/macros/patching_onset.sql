-- patching_onset(): first patched layers at which the source concept beats the target concept in the output language, by step and setting, and the first step at which it does
-- reads: patches, checkpoints
CREATE MACRO patching_onset() AS TABLE
WITH by_layer AS (
    SELECT checkpoint, language_in, language_out, setting, layer, count(*) AS n_pairs, avg(p_source - p_target) AS difference,
        avg(p_source - p_target) - 1.959964 * stddev_samp(p_source - p_target) / sqrt(count(*)) AS low
    FROM patches WHERE language = language_out AND layer IS NOT NULL
    GROUP BY checkpoint, language_in, language_out, setting, layer
), ranked AS (
    SELECT *, max(difference) OVER (PARTITION BY checkpoint, language_in, language_out, setting) AS highest FROM by_layer
), won AS (
    SELECT checkpoint, language_in, language_out, setting, min(n_pairs) AS n_pairs, count(*) AS n_layers,
        count(*) FILTER (low > 0) AS n_won, min(layer) FILTER (low > 0) AS first_layer, max(layer) FILTER (low > 0) AS last_layer,
        max(highest) AS most, min(layer) FILTER (difference = highest) AS layer_of_most
    FROM ranked GROUP BY checkpoint, language_in, language_out, setting
)
SELECT won.checkpoint, step, language_in, language_out, setting, n_pairs, n_layers, n_won, first_layer, last_layer, most,
    layer_of_most, min(step) FILTER (n_won > 0) OVER (PARTITION BY language_in, language_out, setting) AS first_step
FROM won JOIN checkpoints USING (checkpoint)
ORDER BY position, language_in, language_out, setting;
