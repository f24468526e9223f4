"""Dynamic quantization: the quantizer, the knapsack, the sites of a network and the quantized student."""
