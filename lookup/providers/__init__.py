"""Providers of films and plots; ``registry`` lists them."""
