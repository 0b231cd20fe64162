"""Hugging Face transformers: the default backend."""
