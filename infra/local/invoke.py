"""Invokes a function of a stack and prints its answer: one JSON value.

invoke.py STACK LOGICAL_ID PAYLOAD

Runs in the SAM CLI's environment (boto3 is there), with the account and region of the environment, as the AWS CLI does. A local stack is at
AWS_ENDPOINT_URL.
"""

import sys

import boto3
import botocore.config
import botocore.exceptions

stack, logical_id, payload = sys.argv[1:]
# A function of ours answers within 20 seconds, and its commands can be repeated.
config = botocore.config.Config(connect_timeout=10, read_timeout=60)
try:
    resource = boto3.client("cloudformation", config=config).describe_stack_resource(StackName=stack, LogicalResourceId=logical_id)
    function = resource["StackResourceDetail"]["PhysicalResourceId"]
    answer = boto3.client("lambda", config=config).invoke(FunctionName=function, Payload=payload)
except (botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError) as error:
    sys.exit(str(error))
print(answer["Payload"].read().decode() or "null")
