"""The detector "FPN": a compact feature pyramid that sees the board, or board and template together."""
