"""What acting on sets of neurons does to the loss on the texts of every language."""
