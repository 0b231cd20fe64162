-- overlap_evidence(checkpoint): overlap of every concept and pair of languages beside everything it is held against: chance, the ceiling of the data, labels without meaning (their mean and the interval that 95 % of them lie in), what it is more than these, p- and q-value
-- reads: overlap, overlap_tests
CREATE MACRO overlap_evidence(ck) AS TABLE
SELECT checkpoint, concept, language_a, language_b, k, o.shared, o.overlap, o.jaccard, o.chance, o.ceiling, o.cross_half,
    t."null", t.null_sd,
    greatest(t."null" - 1.959964 * t.null_sd, 0) AS null_low, least(t."null" + 1.959964 * t.null_sd, 1) AS null_high,
    t.excess, t.p_value, t.q_value, t.n_repeats
FROM overlap AS o LEFT JOIN overlap_tests AS t USING (checkpoint, concept, language_a, language_b, k)
WHERE checkpoint = ck
ORDER BY concept, language_a, language_b;
