"""Finds a film by its title at TMDB, OMDb or Wikipedia."""
