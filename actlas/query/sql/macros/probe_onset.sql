-- probe_onset(percent := 90): the first checkpoint, no control, at which the mean accuracy of a layer reaches so much of the best that it ever has
-- reads: probe, checkpoints
CREATE MACRO probe_onset(percent := 90) AS TABLE
WITH layers AS (
    SELECT checkpoint, step, position, site, layer, label, avg(accuracy) AS accuracy
    FROM probe JOIN checkpoints USING (checkpoint) WHERE control IS NULL
    GROUP BY checkpoint, step, position, site, layer, label
), judged AS (
    SELECT *, max(accuracy) OVER (PARTITION BY site, layer, label) AS best FROM layers
)
SELECT site, layer, label, arg_min(checkpoint, position) AS checkpoint, arg_min(step, position) AS step,
    arg_min(accuracy, position) AS accuracy, max(best) AS best
FROM judged WHERE accuracy >= percent * best / 100
GROUP BY site, layer, label
ORDER BY site, layer, label;
