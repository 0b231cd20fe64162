-- neuron_texts(checkpoint, site, layer, neuron, n := 10): the texts with the highest values of one neuron, read from the cube
-- reads: activations, texts
CREATE MACRO neuron_texts(ck, s, l, nr, n := 10) AS TABLE
SELECT row_number() OVER (ORDER BY a.value DESC, a.text_id)::INTEGER AS rank, a.value, t.language, a.text_id, t.text
FROM activations AS a JOIN texts AS t ON t.text_id = a.text_id
WHERE a.checkpoint = ck AND a.site = s AND a.layer = l AND a.neuron = nr
QUALIFY rank <= n
ORDER BY rank;
