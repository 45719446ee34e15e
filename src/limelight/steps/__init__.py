"""How one map is made, step by step: its tensors, and the page that shows them."""
