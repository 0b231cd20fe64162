-- probe_by_checkpoint(): mean accuracy over layers and seeds, its spread over layers, and its mean spread over seeds
-- reads: probe, checkpoints
CREATE MACRO probe_by_checkpoint() AS TABLE
WITH layers AS (
    SELECT checkpoint, site, label, layer, avg(accuracy) AS accuracy, stddev_pop(accuracy) AS std_seeds
    FROM probe GROUP BY checkpoint, site, label, layer
)
SELECT checkpoint, step, site, label, avg(accuracy) AS accuracy, stddev_pop(accuracy) AS std_layers,
    avg(std_seeds) AS std_seeds, count(*) AS n_layers
FROM layers JOIN checkpoints USING (checkpoint)
GROUP BY checkpoint, step, position, site, label
ORDER BY position, site, label;
