"""From raw film files to a clean, enriched and annotated table."""
