"""Questions about texts: which give a neuron, or a group of neurons, its highest values, and which are alike to a group."""
