-- probe_class_accuracy(): share of the vectors of each label that probes take for it, and what they take most of the others for
-- reads: probe_classes, checkpoints
CREATE MACRO probe_class_accuracy() AS TABLE
WITH pairs AS (
    SELECT checkpoint, site, layer, label, truth, predicted, sum(n) AS n
    FROM probe_classes GROUP BY checkpoint, site, layer, label, truth, predicted
)
SELECT checkpoint, step, site, layer, label, truth, coalesce(sum(n) FILTER (predicted = truth), 0) / sum(n) AS accuracy,
    arg_min(predicted, (-n, predicted)) FILTER (predicted <> truth) AS taken_for, sum(n)::INTEGER AS n
FROM pairs JOIN checkpoints USING (checkpoint)
GROUP BY checkpoint, step, position, site, layer, label, truth
ORDER BY position, site, layer, label, truth;
