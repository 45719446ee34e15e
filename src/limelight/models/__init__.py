"""Networks by name, with the preprocessing and the class names that belong to their weights.

`sources.load_model` takes any name: `zoo` has the networks of installed packages, `hub` those of
transformers, `own` the user's.
"""
