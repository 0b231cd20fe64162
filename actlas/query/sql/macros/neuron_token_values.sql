-- neuron_token_values(checkpoint, site, layer, neuron, n := 10): what one neuron has at every token of the texts that are strongest for it, and the characters that each token stands for
-- reads: token_values, token_places, texts
CREATE MACRO neuron_token_values(ck, s, l, nr, n := 10) AS TABLE
SELECT v.rank, v.text_id, t.language, p.position, p.piece, p.char_start, p.char_end, p.is_special, v.by_token[p.position + 1] AS value
FROM token_values AS v
JOIN token_places AS p ON p.checkpoint = v.checkpoint AND p.text_id = v.text_id
JOIN texts AS t ON t.text_id = v.text_id
WHERE v.checkpoint = ck AND v.site = s AND v.layer = l AND v.neuron = nr AND v.rank <= n
ORDER BY v.rank, p.position;
