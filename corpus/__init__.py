"""From raw files of films to a corpus: merged, cleaned, enriched, looked at, and annotated word by word."""
