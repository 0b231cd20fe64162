-- anti_experts(checkpoint, language, concept, n := 10): the n neurons of the linear sites with the lowest average precision, of those below a guess (the share of positives): high where the concept is not
-- reads: scores, label_counts
CREATE MACRO anti_experts(ck, lang, con, n := 10) AS TABLE
WITH guessed AS (
    SELECT CASE WHEN n_positive IS NULL
        THEN error('which neurons are below a guess is not known without the counts of labels of ' || con || ' in ' || lang
            || ': import the scores with label counts')::DOUBLE
        ELSE n_positive / nullif(n_member, 0) END AS guess
    FROM label_counts WHERE language = lang AND concept = con
), lowest AS (
    SELECT site, layer, neuron, ap, guess
    FROM scores, guessed
    WHERE checkpoint = ck AND language = lang AND concept = con AND guess - ap > guess / 4194304
        AND site IN ('attn_out', 'attn_qkv', 'mlp_out', 'mlp_pre', 'mlp_up')
    ORDER BY round(ap, 12), site, layer, neuron
    LIMIT n
)
SELECT ck AS checkpoint, lang AS language, con AS concept,
    row_number() OVER (ORDER BY round(ap, 12), site, layer, neuron)::INTEGER AS rank, site, layer, neuron, ap, guess
FROM lowest
ORDER BY rank;
