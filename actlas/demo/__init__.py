"""The demo: two tiny models trained here, their checkpoints in two stores, and one report that compares them.

`corpus` writes parallel sentences with exact labels, `train` trains a model on them, `run` does the whole job.
"""
