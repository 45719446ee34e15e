"""Networks, each with the preprocessing and the class names that belong to its weights."""
