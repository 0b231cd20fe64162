"""Questions about spaces rather than neurons: how weights move, and how many directions representations use."""
