-- probe_sharing(m := 2): correlation of the accuracy of probes with the share of a layer's experts that are shared by at least m languages: over the layers of each checkpoint, and over the checkpoints, no controls, of each layer
-- reads: probe, expert_mask, checkpoints
CREATE MACRO probe_sharing(m := 2) AS TABLE
WITH probed AS (
    SELECT checkpoint, site, label, layer, avg(accuracy) AS accuracy FROM probe WHERE site <> 'embed' GROUP BY checkpoint, site, label, layer
), shared AS (
    SELECT checkpoint, layer, count(*) FILTER (n_languages >= m) / count(*)::DOUBLE AS share
    FROM expert_mask WHERE word = 0 GROUP BY checkpoint, layer
), both_sides AS (
    SELECT 'layers' AS over, checkpoint, NULL::INTEGER AS layer, site, label, accuracy, share
    FROM probed JOIN shared USING (checkpoint, layer)
    UNION ALL
    SELECT 'checkpoints', NULL, layer, site, label, accuracy, share
    FROM probed JOIN shared USING (checkpoint, layer) JOIN checkpoints USING (checkpoint) WHERE control IS NULL
), ranked AS (
    -- equal values share the mean of their ranks
    SELECT *, rank() OVER (PARTITION BY over, checkpoint, layer, site, label ORDER BY accuracy)
            + (count(*) OVER (PARTITION BY over, checkpoint, layer, site, label, accuracy) - 1) / 2 AS accuracy_rank,
        rank() OVER (PARTITION BY over, checkpoint, layer, site, label ORDER BY share)
            + (count(*) OVER (PARTITION BY over, checkpoint, layer, site, label, share) - 1) / 2 AS share_rank
    FROM both_sides
), told AS (
    SELECT over, checkpoint, layer, site, label, count(*) AS n, corr(accuracy, share) AS pearson,
        corr(accuracy_rank, share_rank) AS spearman
    FROM ranked GROUP BY over, checkpoint, layer, site, label
)
SELECT over, told.checkpoint, step, layer, site, label, n, CASE WHEN isfinite(pearson) THEN pearson END AS pearson,
    CASE WHEN isfinite(spearman) THEN spearman END AS spearman
FROM told LEFT JOIN checkpoints USING (checkpoint)
ORDER BY over DESC, position, layer, site, label;
