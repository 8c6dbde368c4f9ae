"""What a test needs of AWS itself. Prints one JSON value. Talks to AWS_ENDPOINT_URL.

send QUEUE_URL BODY [GROUP]      puts a message on a queue; {"message_id"}
visibility QUEUE_URL SECONDS     sets the visibility timeout; {"before"}
invoke FUNCTION PAYLOAD          invokes a function; its answer
logs                             every event of every log group; [{"group", "message"}]
depth QUEUE_URL...               messages waiting, in flight or delayed; {"messages"}
alarm NAME DESCRIPTION TOPIC     makes a CloudWatch alarm whose every action is the topic; {"arn"}
alarm-state NAME STATE REASON    sets its state, as CloudWatch does when a threshold is crossed
rule STACK LOGICAL_ID EVENT      whether a rule takes an event, and where to; {"matches", "state", "targets"}
publish TOPIC MESSAGE            publishes to a topic; {"message_id"} or {"error"}
"""

import json
import os
import sys
import uuid

import boto3
import botocore.exceptions


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


def alarm(name, description, topic):
    api = client("cloudwatch")
    actions = {action: [topic] for action in ("AlarmActions", "OKActions", "InsufficientDataActions")}
    api.put_metric_alarm(
        AlarmName=name, AlarmDescription=description, Namespace="e2e", MetricName="errors", Statistic="Sum", Period=60,
        EvaluationPeriods=1, Threshold=1, ComparisonOperator="GreaterThanThreshold", **actions)
    return {"arn": api.describe_alarms(AlarmNames=[name])["MetricAlarms"][0]["AlarmArn"]}


def alarm_state(name, state, reason):
    client("cloudwatch").set_alarm_state(AlarmName=name, StateValue=state, StateReason=reason)


def rule(stack, logical_id, text):
    name = client("cloudformation").describe_stack_resource(StackName=stack, LogicalResourceId=logical_id)
    name = name["StackResourceDetail"]["PhysicalResourceId"]
    api = client("events")
    found = api.describe_rule(Name=name.rsplit("/", 1)[-1])
    matches = api.test_event_pattern(EventPattern=found["EventPattern"], Event=text)["Result"]
    targets = [target["Arn"] for target in api.list_targets_by_rule(Rule=found["Name"])["Targets"]]
    return {"matches": matches, "state": found["State"], "targets": targets}


def publish(topic, message):
    try:
        return {"message_id": client("sns").publish(TopicArn=topic, Message=message)["MessageId"]}
    except botocore.exceptions.ClientError as error:
        return {"error": error.response["Error"]["Code"]}


print(json.dumps(globals()[sys.argv[1].replace("-", "_")](*sys.argv[2:])))
