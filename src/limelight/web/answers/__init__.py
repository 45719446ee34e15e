"""What requests are answered with: maps, probes, cells, checks, files."""
