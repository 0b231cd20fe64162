"""Values of neurons at every token of a text: of kept texts, or of one that is typed."""
