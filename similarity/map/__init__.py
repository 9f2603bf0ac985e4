"""A picture of a catalogue in two dimensions."""
