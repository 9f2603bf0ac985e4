"""The vector index of films: built, published in versions, searched, reloaded."""
