"""A sweep's store, in a folder or in a bucket: finished models, data sets, samples and claims."""
