"""Frozen values the whole program speaks in. No I/O, no behaviour beyond their own meaning."""
