"""exitdrill's connector for S3 and what speaks its protocol."""

from exitdrill_s3.connector import S3Connector

__all__ = ["S3Connector"]
