"""The notebook on large payloads prints with another S3 what it prints with the lab's own."""

from __future__ import annotations

import pytest

from labsvc.engines import find_rclone
from labsvc.lab import Lab
from tests import s3
from tests.engines.stored_outputs import must_hold
from tests.needs import need


@pytest.mark.timeout(300)
def test_stored_outputs_hold_on_another_s3() -> None:
    """With LAB_S3_ENDPOINT every cell prints what is stored, and the notebook leaves nothing."""
    need(find_rclone)
    with Lab() as lab:
        other = lab.serve_objects()
        keys = other.access_key, other.secret_key
        names = "LAB_S3_ENDPOINT", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"
        env = dict(zip(names, (other.url, *keys), strict=True))
        store = s3.client(other.url, *keys)
        must_hold("54_large_payloads", env)
        buckets = [each["Name"] for each in store.list_buckets()["Buckets"]]
        assert buckets  # rclone keeps one that has had folders: the notebook was here
        for bucket in buckets:
            assert not store.list_objects_v2(Bucket=bucket).get("Contents")
            assert not store.list_multipart_uploads(Bucket=bucket).get("Uploads")
