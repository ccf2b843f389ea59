#!/usr/bin/env bash
# LocalStack runs this once it is ready: the buckets the drills' targets name. Running it again changes nothing.
set -euo pipefail
for bucket in case-files archive; do
    awslocal s3api head-bucket --bucket "$bucket" 2>/dev/null ||
        awslocal s3api create-bucket --bucket "$bucket" --region eu-central-1 \
            --create-bucket-configuration LocationConstraint=eu-central-1
done
