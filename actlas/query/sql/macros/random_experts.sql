-- random_experts(checkpoint, language, concept, k, seed := 0): a control set: k neurons at random out of those that can be experts, of the linear sites that are scored; rank: the order of the draw
-- reads: scores, labels, texts
CREATE MACRO random_experts(ck, lang, con, k, seed := 0) AS TABLE
WITH guessed AS (
    SELECT avg(is_concept::INTEGER) AS guess FROM labels JOIN texts USING (text_id) WHERE language = lang AND concept = con
), drawn AS (
    -- a digest of the neuron and the seed: the same draw wherever it is made
    SELECT site, layer, neuron, ap, row_number() OVER (
        ORDER BY md5(concat_ws(' ', seed, lang, con, site, layer, neuron)), site, layer, neuron
    )::INTEGER AS rank
    FROM scores, guessed
    WHERE checkpoint = ck AND language = lang AND concept = con AND abs(ap - guess) > guess / 4194304
        AND site IN ('attn_out', 'attn_qkv', 'mlp_out', 'mlp_pre', 'mlp_up')
)
SELECT ck AS checkpoint, lang AS language, con AS concept, rank, site, layer, neuron, ap
FROM drawn
WHERE rank <= k
ORDER BY rank;
