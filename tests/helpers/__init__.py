"""What several test files use: networks, pictures, cases, ways to run and to compare."""
