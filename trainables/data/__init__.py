"""Images as uint8 tensors, their splits and their augmentation."""
