"""Photos: found, decoded and prepared, within a limit of memory."""
