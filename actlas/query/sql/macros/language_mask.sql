-- language_mask(checkpoint, language): neurons that are specific to a language by LAPE, to set to 0 or otherwise act on
-- reads: lape
CREATE MACRO language_mask(ck, lang) AS TABLE
SELECT site, layer, neuron, p_active, entropy
FROM lape
WHERE checkpoint = ck AND language = lang
ORDER BY site, layer, neuron;
