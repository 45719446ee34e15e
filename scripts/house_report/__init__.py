"""The state of the source, as `scripts/house` prints it and tests/test_house.py demands it."""
