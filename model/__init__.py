"""One generative model: train(images), sample(model), evaluate(images)."""
