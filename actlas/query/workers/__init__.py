"""Queries in processes of their own, where a deadline and a limit on memory hold whatever a query does."""
