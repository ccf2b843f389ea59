"""The s3 connector."""
