"""One generative model: train it on images, draw samples from it, evaluate them."""
