-- shared_by_layer(checkpoint, m := 2): of the neurons of a layer that are experts anywhere, the share that are in at least m languages
-- reads: expert_mask
CREATE MACRO shared_by_layer(ck, m := 2) AS TABLE
SELECT layer, count(*) AS n_experts, count(*) FILTER (n_languages >= m) AS n_shared,
    count(*) FILTER (n_languages >= m) / count(*)::DOUBLE AS share
FROM expert_mask
WHERE checkpoint = ck AND word = 0
GROUP BY layer
ORDER BY layer;
