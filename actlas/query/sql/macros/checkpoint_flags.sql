-- checkpoint_flags(rise := 1): checkpoints, no controls, that hold the weights of another one (same_as), or are broken: their sanity loss is no number, or more than rise nats above the lowest of an earlier step
-- reads: checkpoints
CREATE MACRO checkpoint_flags(rise := 1) AS TABLE
WITH followed AS (
    SELECT *, sanity_loss - min(sanity_loss) FILTER (isfinite(sanity_loss))
        OVER (ORDER BY position ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS loss_rise
    FROM checkpoints
    WHERE control IS NULL
), twins AS (
    SELECT a.checkpoint, list(b.checkpoint ORDER BY b.position) AS same_as
    FROM followed AS a JOIN followed AS b ON b.weight_hash = a.weight_hash AND b.checkpoint <> a.checkpoint
    GROUP BY a.checkpoint
)
SELECT checkpoint, step, weight_hash, sanity_loss, loss_rise, coalesce(same_as, []) AS same_as, same_as IS NOT NULL AS is_duplicate,
    CASE WHEN sanity_loss IS NOT NULL THEN NOT isfinite(sanity_loss) OR coalesce(loss_rise > rise, false) END AS is_broken
FROM followed LEFT JOIN twins USING (checkpoint)
ORDER BY position;
