"""The family `command`: other people's programs that train on images and draw images."""
