"""What goes into the model: tokens, which of them are kept, and batches of texts of like length."""
