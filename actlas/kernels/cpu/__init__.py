"""The CPU engine. `engine` is called by `concept_scores`; `neuron` scores one neuron, `rank` and `sums` are its loops."""
