"""How one map came to be, step by step: its tensors, and the page that shows them."""
