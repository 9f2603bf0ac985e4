"""From scores to labels: bias of a language model, learned thresholds, slope and offset per label."""
