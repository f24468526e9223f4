"""Recognition of networks that fail when quantized, and of images that will be answered otherwise."""
