"""The CPU engine. `engine` is called by `concept_scores`; `neuron` scores one neuron by the loops of the other files."""
