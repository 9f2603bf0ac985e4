"""A data set on one page: what is in it, how long, how labelled, and what to beware of."""
