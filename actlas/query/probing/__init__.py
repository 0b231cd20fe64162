"""Probes: how well a linear classifier reads a label off vectors, layer by layer and step by step."""
