"""The GPU engine, in Triton. `engine` is called by `concept_scores`; `triton_kernels` is what runs on the device."""
