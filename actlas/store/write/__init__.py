"""Everything that writes into a store. Readers never import from here."""
