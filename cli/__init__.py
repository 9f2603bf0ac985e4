"""The front door's commands, one file per noun; each wires the rooms for one job and imports them when it runs."""
