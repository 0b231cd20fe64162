"""What runs a model: transformers or vLLM behind one contract."""
