"""Rows: how they are held, drawn, split and checked."""
