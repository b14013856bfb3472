"""Measures of what sessions make."""
