"""Photos: finding, decoding and preparing them, within a bound of memory."""
