"""What decides when a step may happen, from facts alone: no clock, no file and no server is read here."""
