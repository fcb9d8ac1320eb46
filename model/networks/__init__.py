"""Networks and what they are trained to do: one module holds one family whole, down to its sampler.

Nothing here imports the training loop or the table of families; an import contract checks it.
"""
