-- same_weights(): checkpoints that hold the very same weights
-- reads: checkpoints
CREATE MACRO same_weights() AS TABLE
SELECT weight_hash, list(checkpoint ORDER BY position) AS checkpoints
FROM checkpoints
WHERE weight_hash IS NOT NULL
GROUP BY weight_hash
HAVING count(*) > 1
ORDER BY min(position);
