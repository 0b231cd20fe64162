"""Concept patching: latents of translation prompts put into other prompts, and which concept the model then says."""
