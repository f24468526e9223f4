"""Reports: what people read of a sweep - Table 1 in the terminal, figures, a Markdown and an HTML page."""
