"""Scores of captions, and a page that shows them."""
