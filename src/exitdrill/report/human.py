"""How reports and the command line write sizes, times and hostile text; kept on a lower floor for the verdict."""

from exitdrill.model.human import bytes_, count, duration, key, rate, safe

__all__ = ["bytes_", "count", "duration", "key", "rate", "safe"]
