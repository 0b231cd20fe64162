-- random_experts(checkpoint, language, concept, k, seed := 0): a control set: k neurons at random out of those that can be experts, of the linear sites that are scored; rank: the order of the draw
-- reads: scores, label_counts
CREATE MACRO random_experts(ck, lang, con, k, seed := 0) AS TABLE
WITH guessed AS (
    -- where the counts are not known, every neuron that has a score may be drawn
    SELECT n_positive / nullif(n_member, 0) AS guess, n_positive IS NULL AS is_free FROM label_counts WHERE language = lang AND concept = con
), drawn AS (
    -- the number of the neuron, mixed with a digest of what is asked by MurmurHash3's finaliser, twice: the same draw wherever it is made
    SELECT site, layer, neuron, ap, md5_number_lower(concat_ws(' ', seed, lang, con)) AS digest,
        xor(((list_position(['attn_out', 'attn_qkv', 'mlp_out', 'mlp_pre', 'mlp_up'], site)::BIGINT * 4096 + layer) * 131072 + neuron)
            & 4294967295, (digest & 4294967295)::BIGINT)::UBIGINT AS a,
        (xor(a, a >> 16) * 2246822507) & 4294967295 AS b, (xor(b, b >> 13) * 3266489909) & 4294967295 AS c,
        xor(xor(c, c >> 16), digest >> 32) AS d,
        (xor(d, d >> 16) * 2246822507) & 4294967295 AS e, (xor(e, e >> 13) * 3266489909) & 4294967295 AS f, xor(f, f >> 16) AS draw
    FROM scores, guessed
    WHERE checkpoint = ck AND language = lang AND concept = con AND ap IS NOT NULL
        AND (is_free OR abs(ap - guess) > guess / 4194304)
        AND site IN ('attn_out', 'attn_qkv', 'mlp_out', 'mlp_pre', 'mlp_up')
    ORDER BY draw, site, layer, neuron
    LIMIT k
)
SELECT ck AS checkpoint, lang AS language, con AS concept,
    row_number() OVER (ORDER BY draw, site, layer, neuron)::INTEGER AS rank, site, layer, neuron, ap
FROM drawn
ORDER BY rank;
