-- alike_neurons(checkpoint, site, layer, neuron, n := 10): the neurons that are experts for most of what a neuron is an expert for; similarity: the smaller average precision of the two over the larger, both added up over all concepts and languages that either is an expert for, 0 where it is none
-- reads: experts
CREATE MACRO alike_neurons(ck, s, l, nr, n := 10) AS TABLE
WITH roles AS (
    SELECT site, layer, neuron, concept, language, ap FROM experts WHERE checkpoint = ck
), own AS (
    SELECT concept, language, ap FROM roles WHERE site = s AND layer = l AND neuron = nr
), common AS (
    SELECT r.site, r.layer, r.neuron, count(*) AS n_common, sum(least(r.ap, o.ap)) AS lesser
    FROM roles AS r JOIN own AS o USING (concept, language)
    WHERE NOT (r.site = s AND r.layer = l AND r.neuron = nr)
    GROUP BY r.site, r.layer, r.neuron
), sizes AS (
    SELECT site, layer, neuron, count(*) AS n_roles, sum(ap) AS total FROM roles SEMI JOIN common USING (site, layer, neuron)
    GROUP BY site, layer, neuron
), told AS (
    -- what the two have in common adds up to the lesser parts; either's sum less these is what only that one has, or has more of
    SELECT site, layer, neuron, n_common, n_roles, lesser / (total + (SELECT sum(ap) FROM own) - lesser) AS similarity
    FROM common JOIN sizes USING (site, layer, neuron)
)
SELECT row_number() OVER (ORDER BY round(similarity, 12) DESC, site, layer, neuron)::INTEGER AS rank, site, layer, neuron, similarity, n_common,
    n_roles, (SELECT count(*) FROM own) AS n_own
FROM told
QUALIFY rank <= n
ORDER BY rank;
