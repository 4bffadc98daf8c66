"""A small research project, and edits of it that must and that must not change the keys of its nodes."""
