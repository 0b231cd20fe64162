"""Parameter space: how weights move from step to step."""
