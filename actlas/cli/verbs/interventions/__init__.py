"""The verbs that run a model and act on its neurons."""
