"""Other products' own clients, unmodified but for URL and key. Prints one JSON value.

pagerduty URL KEY CALLS      calls of PagerDuty's client: [[method, arguments]]; what each gave back, or {"error", "status"}
opsgenie URL KEY CALLS       the same of Opsgenie's SDK; a payload is {"payload class": fields}
signature KEY BODY           the hexadecimal HMAC-SHA256 of a body, as Grafana signs
cloudevents MODE EVENTS      events as the SDK puts them on the wire; {"headers", "body"}
atom TEXT                    a feed as feedparser reads it: {"bozo", "feed", "entries"}
calendar TEXT                a calendar as icalendar reads it: its events, each {"uid", "status", "summary", "start", "end", "errors"}
"""

import json
import sys


def pagerduty(url, key, calls):
    from pagerduty import EventsApiV2Client

    client = EventsApiV2Client(key, base_url=url)
    # It would wait for minutes; what we shed is not asked here.
    client.retry.clear()
    return [said(getattr(client, method), arguments) for method, arguments in json.loads(calls)]


def opsgenie(url, key, calls):
    import opsgenie_sdk

    configuration = opsgenie_sdk.Configuration()
    configuration.host = url
    configuration.api_key["Authorization"] = key
    configuration.retry_enabled = False
    client = opsgenie_sdk.AlertApi(api_client=opsgenie_sdk.ApiClient(configuration=configuration))

    def argument(value):
        if isinstance(value, dict) and len(value) == 1 and hasattr(opsgenie_sdk, next(iter(value))):
            kind, fields = next(iter(value.items()))
            return getattr(opsgenie_sdk, kind)(**fields)
        return value

    done = []
    for method, arguments in json.loads(calls):
        arguments = {name: argument(value) for name, value in arguments.items()}
        done.append(said(getattr(client, method), arguments))
    return done


def said(method, arguments):
    try:
        answer = method(**arguments)
    except Exception as error:
        status = getattr(error, "status", None) or getattr(getattr(error, "response", None), "status_code", None)
        return {"error": type(error).__name__, "status": status}
    return answer.to_dict() if hasattr(answer, "to_dict") else answer


def signature(key, body):
    import hashlib
    import hmac

    return hmac.new(key.encode(), body.encode(), hashlib.sha256).hexdigest()


def atom(text):
    import feedparser

    read = feedparser.parse(text.encode(), response_headers={"content-type": "application/atom+xml; charset=utf-8"})
    entries = [
        {
            "id": entry.id,
            "title": entry.title,
            "link": entry.link,
            "updated": entry.updated,
            "published": entry.published,
            "content": entry.content[0].value,
        }
        for entry in read.entries
    ]
    feed = {name: read.feed.get(name) for name in ("title", "id", "updated", "link")}
    return {"bozo": bool(read.bozo), "version": read.version, "feed": feed, "entries": entries}


def calendar(text):
    from icalendar import Calendar

    read = Calendar.from_ical(text)

    def moment(event, name):
        return event[name].dt.isoformat() if name in event else None

    return [
        {
            "uid": str(event["uid"]),
            "status": str(event["status"]),
            "summary": str(event["summary"]),
            "description": str(event["description"]),
            "url": str(event["url"]),
            "start": moment(event, "dtstart"),
            "end": moment(event, "dtend"),
            "errors": [str(error) for error in event.errors],
        }
        for event in read.walk("VEVENT")
    ]


def cloudevents(mode, events):
    from cloudevents.core.bindings.http import to_binary_event, to_structured_event
    from cloudevents.core.v1.event import CloudEvent

    made = []
    for event in json.loads(events):
        data = event.pop("data")
        event["datacontenttype"] = "application/json"
        made.append(CloudEvent(attributes=event, data=data))
    if mode == "binary":
        message = to_binary_event(made[0])
        return {"headers": message.headers, "body": message.body.decode()}
    messages = [to_structured_event(event) for event in made]
    bodies = [message.body.decode() for message in messages]
    if mode == "structured":
        return {"headers": messages[0].headers, "body": bodies[0]}
    # The SDK writes no batches: a batch is an array of what it writes (cloudevents/spec, json-format.md, 4.1).
    return {"headers": {"content-type": "application/cloudevents-batch+json"}, "body": "[" + ",".join(bodies) + "]"}


print(json.dumps(globals()[sys.argv[1]](*sys.argv[2:]), default=str))
