"""The end of a launch: what is compared, published and said."""
