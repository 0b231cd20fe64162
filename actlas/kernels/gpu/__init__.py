"""The GPU engine, in Triton. `engine` is called by `concept_scores`; `variants` lists what is launched;
`*_kernels` run on the device.
"""
