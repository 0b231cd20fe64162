-- stability_at(k): how far the k best experts of a checkpoint, no control, are those of the one before and of the last; k no larger than that of table experts
-- reads: experts, checkpoints
CREATE MACRO stability_at(k_best) AS TABLE
WITH followed AS (
    SELECT checkpoint, step, position, lag(checkpoint) OVER (ORDER BY position) AS previous,
        (SELECT arg_max(checkpoint, position) FROM checkpoints WHERE control IS NULL) AS last
    FROM checkpoints
    WHERE control IS NULL
), best AS (
    SELECT * FROM experts WHERE rank <= k_best
), there AS (
    SELECT DISTINCT checkpoint, language, concept FROM best
), common AS (
    SELECT a.checkpoint, a.language, a.concept, count(*) FILTER (b.checkpoint = previous) AS as_previous,
        count(*) FILTER (b.checkpoint = last) AS as_last
    FROM followed JOIN best AS a USING (checkpoint) JOIN best AS b ON (b.checkpoint = previous OR b.checkpoint = last)
        AND b.language = a.language AND b.concept = a.concept AND b.site = a.site AND b.layer = a.layer AND b.neuron = a.neuron
    GROUP BY a.checkpoint, a.language, a.concept
)
SELECT f.checkpoint, f.step, t.language, t.concept, k_best::INTEGER AS k, f.previous,
    CASE WHEN f.previous IS NOT NULL THEN coalesce(as_previous, 0) / k_best::DOUBLE END AS overlap_previous,
    coalesce(as_last, 0) / k_best::DOUBLE AS overlap_last
FROM followed AS f JOIN there AS t USING (checkpoint)
    LEFT JOIN common AS c ON c.checkpoint = t.checkpoint AND c.language = t.language AND c.concept = t.concept
ORDER BY f.position, t.language, t.concept;
