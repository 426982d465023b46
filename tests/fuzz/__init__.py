"""Hostile input for every script: ``make fuzz``."""
