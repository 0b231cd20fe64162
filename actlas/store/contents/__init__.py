"""What an open store holds, one file per kind: checkpoints, cubes, scores, tables. `actlas.store.Store` is all of them."""
