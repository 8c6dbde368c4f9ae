"""What only an AWS client can do to a fresh stack: verify the sender, read the outputs, make the first admin token.

Runs in the SAM CLI's environment (boto3 is there). Prints one JSON object. Talks to AWS_ENDPOINT_URL, else to AWS itself.
"""

import json
import os
import sys

import boto3

stack_name, sender = sys.argv[1], sys.argv[2]
# botocore's SQS and SNS clients have ignored AWS_ENDPOINT_URL in places, so every client is told.
endpoint = {"endpoint_url": os.environ["AWS_ENDPOINT_URL"]} if "AWS_ENDPOINT_URL" in os.environ else {}

ses = boto3.client("ses", **endpoint)
ses.verify_email_identity(EmailAddress=sender)
stack = boto3.client("cloudformation", **endpoint).describe_stacks(StackName=stack_name)["Stacks"][0]
outputs = {output["OutputKey"]: output["OutputValue"] for output in stack["Outputs"]}
# As docs/deploy.md says. Deliveries are left out: a notification for each e-mail would only slow the emulator down.
for kind in ("Bounce", "Complaint"):
    ses.set_identity_notification_topic(Identity=sender, NotificationType=kind, SnsTopic=outputs["FeedbackTopicArn"])
answer = boto3.client("lambda", **endpoint).invoke(
    FunctionName=outputs["PreferencesApiFunctionName"], Payload=json.dumps({"bootstrap": "platform_admin"})
)
payload = json.loads(answer["Payload"].read())
if "token" not in payload:
    # The error names its type and the remedy; it never holds the token.
    sys.exit(f"the first admin token could not be made: {payload.get('errorMessage', payload)}")
print(json.dumps({"outputs": outputs, "token": payload["token"]}))
