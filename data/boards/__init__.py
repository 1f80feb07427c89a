"""Synthetic circuit boards: free to give away, as many as wanted, in families that differ as product lines do."""

from data.boards.board import LABELS, SyntheticBoard, draw_board, write_boards
from data.boards.family import FAMILIES, Family

__all__ = ["FAMILIES", "LABELS", "Family", "SyntheticBoard", "draw_board", "write_boards"]
