"""One generative model: images in, trained network out; network in, images out; images in, numbers out."""
