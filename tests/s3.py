"""A client of an object store, for tests and benchmarks."""

from __future__ import annotations

from typing import Any

import boto3
from botocore.config import Config


def client(url: str, access_key: str, secret_key: str) -> Any:
    """Return a client that sends what every S3 understands, as notebook 54 shows it."""
    config = Config(
        signature_version="s3v4",
        s3={"addressing_style": "path"},
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    return boto3.client(
        "s3",
        endpoint_url=url,
        region_name="us-east-1",
        config=config,
        aws_access_key_id=access_key,
        aws_secret_access_key=secret_key,
    )
