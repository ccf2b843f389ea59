"""The azure connector."""
