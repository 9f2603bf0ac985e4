"""Which texts to label next, the file of such texts, and its exchange with labelling tools."""
