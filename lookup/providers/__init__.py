"""One file a provider, all of one shape; ``registry`` lists them."""
