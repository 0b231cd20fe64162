"""A model runs here and nowhere else: texts to batches to a backend to pooled values to the store's writer."""
