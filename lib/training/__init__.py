"""Optimizers, learning-rate schedules, reports, the best epoch and snapshots."""
