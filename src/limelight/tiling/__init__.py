"""Pictures larger than memory, explained window by window."""
