"""Networks as other runtimes hold and run them."""
