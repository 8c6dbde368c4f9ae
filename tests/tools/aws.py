"""What a test needs of AWS itself. Reads commands from standard input, each a JSON list of words on a line, and answers each with
a line: {"is": VALUE} or {"error": TEXT}. It stays until its input ends, since importing boto3 takes a second. Talks to AWS_ENDPOINT_URL.

send QUEUE_URL BODY [GROUP]      puts a message on a queue; {"message_id"}
visibility QUEUE_URL SECONDS     sets the visibility timeout; {"before"}
receives-max QUEUE_URL COUNT     sets after how many receives a message goes to the dead-letter queue; {"before"}
invoke FUNCTION PAYLOAD          invokes a function; its answer
logs                             every event of every log group; [{"group", "message"}]
depth QUEUE_URL...               messages waiting, in flight or delayed; {"messages"}
alarm NAME DESCRIPTION TOPIC     makes a CloudWatch alarm whose every action is the topic; {"arn"}
alarm-state NAME STATE REASON    sets its state, as CloudWatch does when a threshold is crossed
rule STACK LOGICAL_ID EVENT      whether a rule takes an event, and where to; {"matches", "state", "targets"}
user POOL CLIENT TENANTS GROUP...  makes a user of the pool in these groups and signs in; {"id_token", "access_token"}
short-lived POOL CLIENT TENANTS GROUP...  as user, with tokens that live for a second
pool                             another user pool with an app client; {"pool_id", "client_id"}
app-client POOL                  another app client; {"client_id"}
forge TOKEN HOW                  what an attacker makes of a JWT: `none`, `confused`, `tampered` or `unknown-key`; {"token"}
release FUNCTION                 has every due shard handed out; what each shard did
clock TABLE MILLISECONDS         sets how far the functions' clock is ahead of the machine's
expire TABLE INCIDENT            does to an incident and its timeline what the table's TTL does; how many items that were
row TABLE PK SK                  an item of the table as it stands; its texts and numbers
sms-log FAILURE LINE             writes a line as SNS does of a text message, into the log of failures or of successes (true, false)
publish TOPIC MESSAGE            publishes to a topic; {"message_id"} or {"error"}
call SERVICE OPERATION JSON      calls AWS with exactly these parameters; {"status", "code", "message"} if it refuses them
"""

import base64
import concurrent.futures
import functools
import hashlib
import hmac
import json
import os
import urllib.request
import sys
import time
import traceback
import uuid

import boto3
import botocore.config
import botocore.exceptions


@functools.cache
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


def receives_max(url, count):
    sqs = client("sqs")
    policy = json.loads(sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["RedrivePolicy"])["Attributes"]["RedrivePolicy"])
    before = int(policy["maxReceiveCount"])
    sqs.set_queue_attributes(QueueUrl=url, Attributes={"RedrivePolicy": json.dumps({**policy, "maxReceiveCount": int(count)})})
    return {"before": before}


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


def user(pool, client_id, tenants, *groups):
    api, name, password = client("cognito-idp"), uuid.uuid4().hex, "Aa1!" + uuid.uuid4().hex
    attributes = [{"Name": "custom:tenants", "Value": tenants}] if tenants else []
    api.admin_create_user(UserPoolId=pool, Username=name, UserAttributes=attributes, MessageAction="SUPPRESS")
    api.admin_set_user_password(UserPoolId=pool, Username=name, Password=password, Permanent=True)
    for group in groups:
        try:
            api.create_group(UserPoolId=pool, GroupName=group)
        except api.exceptions.GroupExistsException:
            pass
        api.admin_add_user_to_group(UserPoolId=pool, Username=name, GroupName=group)
    signed_in = api.admin_initiate_auth(
        UserPoolId=pool, ClientId=client_id, AuthFlow="ADMIN_USER_PASSWORD_AUTH",
        AuthParameters={"USERNAME": name, "PASSWORD": password})["AuthenticationResult"]
    return {"id_token": signed_in["IdToken"], "access_token": signed_in["AccessToken"]}


def short_lived(pool_id, client_id, *more):
    def live(value, unit):
        client("cognito-idp").update_user_pool_client(
            UserPoolId=pool_id, ClientId=client_id, ExplicitAuthFlows=["ALLOW_ADMIN_USER_PASSWORD_AUTH"],
            IdTokenValidity=value, TokenValidityUnits={"IdToken": unit})

    live(1, "seconds")
    try:
        return user(pool_id, client_id, *more)
    finally:
        live(1, "hours")


def pool():
    made = client("cognito-idp").create_user_pool(
        PoolName="other", Schema=[{"Name": "tenants", "AttributeDataType": "String", "Mutable": True}])
    pool_id = made["UserPool"]["Id"]
    return {"pool_id": pool_id, **app_client(pool_id)}


def app_client(pool_id):
    made = client("cognito-idp").create_user_pool_client(
        UserPoolId=pool_id, ClientName="e2e", ExplicitAuthFlows=["ALLOW_ADMIN_USER_PASSWORD_AUTH"])
    return {"client_id": made["UserPoolClient"]["ClientId"]}


def forge(token, how):
    def read(part):
        return json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))

    def write(value):
        data = value if isinstance(value, bytes) else json.dumps(value).encode()
        return base64.urlsafe_b64encode(data).rstrip(b"=").decode()

    header, claims, signature = token.split(".")
    header, claims = read(header), read(claims)
    if how == "none":
        return {"token": f"{write({**header, 'alg': 'none'})}.{write(claims)}."}
    if how == "tampered":
        return {"token": f"{write(header)}.{write({**claims, 'custom:tenants': 'platform'})}.{signature}"}
    if how == "unknown-key":
        return {"token": f"{write({**header, 'kid': 'nobody'})}.{write(claims)}.{signature}"}
    # The public key as everybody has it, taken as the secret of an HMAC.
    place = f"{os.environ['AWS_ENDPOINT_URL']}/{claims['iss'].rsplit('/', 1)[-1]}/.well-known/jwks.json"
    keys = json.load(urllib.request.urlopen(place))["keys"]
    key = next(key for key in keys if key["kid"] == header["kid"])
    text = f"{write({**header, 'alg': 'HS256'})}.{write(claims)}"
    return {"token": f"{text}.{write(hmac.new(json.dumps(key).encode(), text.encode(), hashlib.sha256).digest())}"}


def clock(table, milliseconds):
    ahead = {"pk": {"S": "CLOCK#"}, "sk": {"S": "CLOCK"}, "ahead_ms": {"N": milliseconds}}
    client("dynamodb").put_item(TableName=table, Item=ahead)


def expire(table, incident):
    found = client("dynamodb").query(
        TableName=table, KeyConditionExpression="pk = :pk", ExpressionAttributeValues={":pk": {"S": f"INC#{incident}"}})["Items"]
    for item in found:
        client("dynamodb").delete_item(TableName=table, Key={"pk": item["pk"], "sk": item["sk"]})
    return len(found)


def row(table, pk, sk):
    item = client("dynamodb").get_item(TableName=table, Key={"pk": {"S": pk}, "sk": {"S": sk}}).get("Item", {})
    return {name: next(iter(value.values())) for name, value in item.items() if next(iter(value)) in "SN"}


def release(function):
    client("lambda")
    with concurrent.futures.ThreadPoolExecutor() as pool:
        return list(pool.map(lambda shard: invoke(function, json.dumps({"shard": shard})), range(8)))


def sms_log(failure, line):
    api = client("logs")
    groups = api.describe_log_groups(logGroupNamePrefix="sns/")["logGroups"]
    name = next(group["logGroupName"] for group in groups if group["logGroupName"].endswith("/Failure") == (failure == "true"))
    stream = uuid.uuid4().hex
    api.create_log_stream(logGroupName=name, logStreamName=stream)
    events = [{"timestamp": int(time.time() * 1000), "message": line}]
    api.put_log_events(logGroupName=name, logStreamName=stream, logEvents=events)


def publish(topic, message):
    try:
        return {"message_id": client("sns").publish(TopicArn=topic, Message=message)["MessageId"]}
    except botocore.exceptions.ClientError as error:
        return {"error": error.response["Error"]["Code"]}


def call(service, operation, parameters):
    # What a client would not even send, AWS is to refuse.
    config = botocore.config.Config(parameter_validation=False, retries={"max_attempts": 1})
    api = boto3.client(service, endpoint_url=os.environ["AWS_ENDPOINT_URL"], config=config)
    try:
        getattr(api, operation)(**json.loads(parameters))
    except botocore.exceptions.ClientError as error:
        answer = error.response
        code, message = answer["Error"]["Code"], answer["Error"]["Message"]
        return {"status": answer["ResponseMetadata"]["HTTPStatusCode"], "code": code, "message": message}
    return {"status": 200}


for line in sys.stdin:
    command, *words = json.loads(line)
    try:
        answer = {"is": globals()[command.replace("-", "_")](*words)}
    except Exception:
        answer = {"error": traceback.format_exc()}
    print(json.dumps(answer), flush=True)
