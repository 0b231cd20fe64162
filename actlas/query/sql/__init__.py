"""SQL over a store: a sandboxed DuckDB session, its guard, and the views over cubes."""
