-- patching_by_layer(): mean probability of words of the source and of the target concept by step, setting and first patched layer, with 95 % intervals over pairs
-- reads: patches, checkpoints
CREATE MACRO patching_by_layer() AS TABLE
WITH means AS (
    SELECT checkpoint, language_in, language_out, setting, layer, language, count(*) AS n_pairs,
        avg(p_source) AS p_source, 1.959964 * stddev_samp(p_source) / sqrt(count(*)) AS half_source,
        avg(p_target) AS p_target, 1.959964 * stddev_samp(p_target) / sqrt(count(*)) AS half_target,
        avg(p_source - p_target) AS difference, 1.959964 * stddev_samp(p_source - p_target) / sqrt(count(*)) AS half
    FROM patches GROUP BY checkpoint, language_in, language_out, setting, layer, language
)
SELECT means.checkpoint, step, language_in, language_out, setting, layer, language, n_pairs,
    p_source, p_source - half_source AS p_source_low, p_source + half_source AS p_source_high,
    p_target, p_target - half_target AS p_target_low, p_target + half_target AS p_target_high,
    difference, difference - half AS difference_low, difference + half AS difference_high
FROM means JOIN checkpoints USING (checkpoint)
ORDER BY position, language_in, language_out, setting, layer NULLS FIRST, language;
