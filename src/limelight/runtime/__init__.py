"""Everything that runs, hooks or differentiates a model; it does so on a shadow of the model.

`A = body(x)`, `y = head(A)`: `cut` is what a user calls, `forward` the pass in numbered steps, and
`shadow` the stand-in that it runs on, so that the model itself is never touched.
"""
