#!/bin/sh
# The buckets the drills' targets name, made in MinIO. Running it again changes nothing.
set -eu
export MC_HOST_target="http://${MINIO_ROOT_USER}:${MINIO_ROOT_PASSWORD}@minio:9000"
for bucket in case-files archive; do
    mc mb --ignore-existing --region "${MINIO_REGION}" "target/${bucket}"
done
