"""What a test needs of AWS itself. Prints one JSON value. Talks to AWS_ENDPOINT_URL.

send QUEUE_URL BODY [GROUP]      puts a message on a queue; {"message_id"}
visibility QUEUE_URL SECONDS     sets the visibility timeout; {"before"}
invoke FUNCTION PAYLOAD          invokes a function; its answer
logs                             every event of every log group; [{"group", "message"}]
depth QUEUE_URL...               messages waiting, in flight or delayed; {"messages"}
"""

import json
import os
import sys
import uuid

import boto3


def client(name):
    # botocore's SQS client has ignored AWS_ENDPOINT_URL in places, so every client is told.
    return boto3.client(name, endpoint_url=os.environ["AWS_ENDPOINT_URL"])


def send(url, body, group=None):
    more = {"MessageGroupId": group, "MessageDeduplicationId": uuid.uuid4().hex} if group else {}
    return {"message_id": client("sqs").send_message(QueueUrl=url, MessageBody=body, **more)["MessageId"]}


def visibility(url, seconds):
    sqs = client("sqs")
    before = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["VisibilityTimeout"])["Attributes"]
    sqs.set_queue_attributes(QueueUrl=url, Attributes={"VisibilityTimeout": seconds})
    return {"before": int(before["VisibilityTimeout"])}


def invoke(function, payload):
    answer = client("lambda").invoke(FunctionName=function, Payload=payload)
    return json.loads(answer["Payload"].read() or "null")


def logs():
    found = []
    api = client("logs")
    for page in api.get_paginator("describe_log_groups").paginate():
        for group in page["logGroups"]:
            name = group["logGroupName"]
            for events in api.get_paginator("filter_log_events").paginate(logGroupName=name):
                found += [{"group": name, "message": event["message"]} for event in events["events"]]
    return found


def depth(*urls):
    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible", "ApproximateNumberOfMessagesDelayed"]
    sqs, total = client("sqs"), 0
    for url in urls:
        attributes = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"]
        total += sum(int(attributes.get(name, 0)) for name in names)
    return {"messages": total}


print(json.dumps(globals()[sys.argv[1]](*sys.argv[2:])))
