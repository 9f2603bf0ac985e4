"""From a bare title to a film: what TMDB, OMDb and Wikipedia tell of it, asked politely and remembered."""
