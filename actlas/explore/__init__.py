"""Looking at a store: views that are declared as queries, and what shows them."""
