"""Help for authors of taxonomies: a lint, and labels proposed from unlabelled texts."""
