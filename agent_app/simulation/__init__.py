"""Scripted customers against a real desk: `manage.py simulate`. How to write a scenario: docs/simulation.md."""
