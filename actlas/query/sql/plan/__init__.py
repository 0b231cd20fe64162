"""What a query leaves of cubes, found before it runs."""
