"""The words of the house: texts, closed vocabularies and the prompts that put them to a model."""
