"""Neural model families: one module holds a family's network, its loss and its sampler.

Nothing here imports the training loop or the table of families; an import contract checks it.
"""
