"""The networks of the experiment: timm backbones and the bit-width policy."""
