"""The demo in seconds: a model of one layer, four steps, three languages."""

from actlas.demo.train import TrainingSettings

TINY = TrainingSettings(
    checkpoints=(0, 2, 4), width=16, layers=1, heads=2, vocabulary=400, batch=4, warm_up=2, languages=("en", "es", "de")
)
