"""The commands: a file for each, with a function of the same name."""
