"""An S3 (moto) that verifies signatures and has policies, with a bucket and keys: prints a line `name id secret` for each.
usage: bucket_keys.py PORT BUCKET"""
import json
import sys
import threading

import boto3
from moto import settings
from moto.iam.access_control import IAMRequestBase
from moto.server import ThreadedMotoServer

port, bucket = sys.argv[1:]
READ = ["s3:GetObject", "s3:ListBucket"]
RIGHTS = {"own": ["s3:*"], "reader": READ, "editor": [*READ, "s3:PutObject"]}
made = IAMRequestBase._create_aws_request


def with_encoded_query(self):
    """moto decodes the slashes of a query before it verifies the signature, which is over the encoded ones."""
    path, mark, query = self._path.partition("?")
    self._path = path + mark + query.replace("/", "%2F")
    return made(self)


def client(service):
    keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test"}
    return boto3.client(service, endpoint_url=f"http://127.0.0.1:{port}", region_name="us-east-1", **keys)


IAMRequestBase._create_aws_request = with_encoded_query
ThreadedMotoServer(ip_address="127.0.0.1", port=int(port)).start()
client("s3").create_bucket(Bucket=bucket)
iam = client("iam")
lines = []
for name, actions in RIGHTS.items():
    iam.create_user(UserName=name)
    policy = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": actions, "Resource": "*"}]}
    iam.put_user_policy(UserName=name, PolicyName=name, PolicyDocument=json.dumps(policy))
    key = iam.create_access_key(UserName=name)["AccessKey"]
    lines.append(f"{name} {key['AccessKeyId']} {key['SecretAccessKey']}")
settings.INITIAL_NO_AUTH_ACTION_COUNT = 0
print("\n".join(lines), flush=True)
threading.Event().wait()
