"""vLLM: an engine in a process of its own, read from inside its workers."""
