"""The comparison with what users would otherwise run: ``python -m bench``. See docs/performance.md."""
