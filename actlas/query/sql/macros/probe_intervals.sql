-- probe_intervals(): mean accuracy over seeds by layer and step, with the 95 % interval of that mean; null where there is one seed
-- reads: probe, checkpoints
CREATE MACRO probe_intervals() AS TABLE
WITH layers AS (
    SELECT checkpoint, site, layer, label, count(*) AS n_seeds, avg(accuracy) AS accuracy, avg(chance) AS chance,
        -- Student's t; above 19 degrees of freedom that of the normal limit is as good
        coalesce([12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.16, 2.145, 2.131, 2.12, 2.11, 2.101, 2.093][count(*) - 1], 1.960) * stddev_samp(accuracy) / sqrt(count(*)) AS reach
    FROM probe GROUP BY checkpoint, site, layer, label
)
SELECT checkpoint, step, site, layer, label, n_seeds, accuracy, greatest(accuracy - reach, 0) AS low,
    least(accuracy + reach, 1) AS high, chance
FROM layers JOIN checkpoints USING (checkpoint)
ORDER BY position, site, layer, label;
