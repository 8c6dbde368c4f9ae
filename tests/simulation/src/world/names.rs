//! Names of effects, for traces and counts.

use super::Story;
use crate::table::DeliveryKey;
use contracts::queue::Delivery;
use pipeline::Counted;
use pipeline::classify::Classify;
use pipeline::confirm::Confirm;
use pipeline::deliver::Deliver;
use pipeline::feedback::Feedback;
use pipeline::release::Release;
use pipeline::route::Route;

pub(super) fn effect_name(story: &Story) -> &'static str {
    match story {
        Story::Classify(story) => match story {
            Classify::Record(_) => "classify.record",
            Classify::Tenant(_) => "classify.tenant",
            Classify::Key(_) => "classify.key",
            Classify::Incident(_) => "classify.incident",
            Classify::Reminder(_) => "classify.reminder",
            Classify::Windows(_) => "classify.windows",
            Classify::Commit(_) => "classify.commit",
            Classify::Emit(_) => "classify.emit",
            Classify::End(_) => "end",
        },
        Story::Route(story) => match story {
            Route::Context(_) => "route.context",
            Route::Tenant(_) => "route.tenant",
            Route::Page(_) => "route.page",
            Route::Count(_) => "route.count",
            Route::Store(_) => "route.store",
            Route::Hold(_) => "route.hold",
            Route::Enqueue(_) => "route.enqueue",
            Route::Separate(_) => "route.separate",
            Route::Continue(_) => "route.continue",
            Route::Save(_) => "route.save",
            Route::End(_) => "end",
        },
        Story::Deliver(story) => match story {
            Deliver::Slot(_) => "deliver.slot",
            Deliver::Predecessor(_) => "deliver.predecessor",
            Deliver::Claim(_) => "deliver.claim",
            Deliver::Limit(_) => "deliver.limit",
            Deliver::Send(_) => "deliver.send",
            Deliver::Refusal(_) => "deliver.refusal",
            Deliver::Endpoint(_) => "deliver.endpoint",
            Deliver::Disable(_) => "deliver.disable",
            Deliver::Notify(_) => "deliver.notify",
            Deliver::Write(_) => "deliver.write",
            Deliver::Schedule(_) => "deliver.schedule",
            Deliver::Release(_) => "deliver.release",
            Deliver::Enqueue(_) => "deliver.enqueue",
            Deliver::Settle(_) => "deliver.settle",
            Deliver::End(_) => "end",
        },
        Story::Release(story) => match story {
            Release::Places(_) => "release.places",
            Release::Page(_) => "release.page",
            Release::Lease(_) => "release.lease",
            Release::Facts(_) => "release.facts",
            Release::Queued(_) => "release.queued",
            Release::Behind(_) => "release.behind",
            Release::Reschedule(_) => "release.reschedule",
            Release::Enqueue(_) => "release.enqueue",
            Release::EndRows(_) => "release.end_rows",
            Release::Delete(_) => "release.delete",
            Release::Unlease(_) => "release.unlease",
            Release::SavePlaces(_) => "release.save_places",
            Release::End(_) => "end",
        },
        Story::Feedback(story) => match story {
            Feedback::Messages(_) => "feedback.messages",
            Feedback::Record(_) => "feedback.record",
            Feedback::Address(_) => "feedback.address",
            Feedback::Recipient(_) => "feedback.recipient",
            Feedback::Notice(_) => "feedback.notice",
            Feedback::Suppress(_) => "feedback.suppress",
            Feedback::End(_) => "end",
        },
        Story::Confirm(story) => match story {
            Confirm::Send(_) => "confirm.send",
            Confirm::Name(_) => "confirm.name",
            Confirm::Refuse(_) => "confirm.refuse",
            Confirm::End(_) => "end",
        },
    }
}

fn names(members: &[Delivery]) -> String {
    let names = members.iter().map(|member| format!("{} attempt {}", DeliveryKey::of(member), member.attempt));
    names.collect::<Vec<_>>().join("; ")
}

/// What an effect is about.
pub(super) fn describe(story: &Story) -> String {
    let join = |all: Vec<String>| all.join("; ");
    match story {
        Story::Classify(Classify::Record(step)) => format!("event {}", step.message().event_id),
        Story::Classify(Classify::Commit(step)) => {
            let decision = step.decision();
            let incident = decision.head.as_ref().map_or("no incident", |(incident, _)| incident.id.as_str());
            let change = decision.update.as_ref().map(|update| (update.number, update.change, update.severity));
            format!("{incident} {change:?} {:?}", decision.record.reason)
        }
        Story::Route(Route::Context(step)) => format!("{}#{}", step.job().incident_id, step.job().update),
        Story::Route(Route::Store(step)) => {
            let plans = step.plans().map(|plan| {
                let decisions = plan.decisions.iter();
                let decisions = decisions.map(|one| format!("{} {} {:?}", one.destination, one.channel, one.outcome));
                format!("{} {}: {}", plan.tenant, plan.update, decisions.collect::<Vec<_>>().join(", "))
            });
            join(plans.collect())
        }
        Story::Route(Route::Separate(step)) => format!("{:?}", step.jobs()),
        Story::Route(Route::Save(step)) => format!("{:?} {:?}", step.job(), step.place()),
        Story::Route(Route::Hold(step)) => {
            join(step.entries().iter().map(|due| format!("{} at {}", DeliveryKey::of_due(due), due.at)).collect())
        }
        Story::Route(Route::Enqueue(step)) => names(step.deliveries()),
        Story::Deliver(Deliver::Claim(step)) => names(step.members()),
        Story::Deliver(Deliver::Send(step)) => names(step.message().members()),
        Story::Deliver(Deliver::Release(step)) => names(step.members()),
        Story::Deliver(Deliver::Settle(step)) => names(step.members()),
        Story::Deliver(Deliver::Enqueue(step)) => {
            format!("{} in {} s", names(std::slice::from_ref(step.delivery())), step.delay_seconds())
        }
        Story::Deliver(Deliver::Write(step)) => {
            join(step.marks().map(|(member, mark)| format!("{}: {mark:?}", DeliveryKey::of(member))).collect())
        }
        Story::Deliver(Deliver::Schedule(step)) => {
            format!("{} at {}", DeliveryKey::of_due(step.entry()), step.entry().at)
        }
        Story::Release(Release::Facts(step)) => {
            let due = step.items().iter().map(|item| format!("{} at {}", DeliveryKey::of_due(&item.due), item.due.at));
            join(due.collect())
        }
        Story::Release(Release::Reschedule(step)) => {
            let later = step.later().iter();
            let later = later.map(|one| format!("{} at {}", DeliveryKey::of_due(&one.entry), one.entry.at));
            join(later.collect())
        }
        Story::Release(Release::Enqueue(step)) => {
            join(step.messages().iter().map(|queued| names(queued.message.members())).collect())
        }
        Story::Release(Release::EndRows(step)) => {
            let ended = step.ended().map(|(due, ended)| format!("{}: {:?}", DeliveryKey::of_due(due), ended.reason));
            join(ended.collect())
        }
        Story::Deliver(Deliver::Refusal(step)) => format!("{:?}", step.refused()),
        Story::Feedback(Feedback::Messages(step)) => format!("{} {}", step.channel(), step.message_id()),
        Story::Feedback(Feedback::Record(step)) => {
            let all = step.reports();
            join(all.map(|(message, report)| format!("{}#{} {:?}", message.row, message.update, report.kind)).collect())
        }
        Story::Feedback(Feedback::Recipient(step)) => format!("{}/{}", step.tenant(), step.recipient()),
        Story::Feedback(Feedback::Notice(step)) => format!("event {}", step.notice().event_id),
        Story::Feedback(Feedback::Suppress(step)) => {
            format!("{}/{} {}", step.tenant(), step.recipient(), step.silenced().suppression.reason)
        }
        Story::Confirm(Confirm::Send(step)) => {
            format!("{} {:?}", step.request().correlation_id, step.request().question)
        }
        _ => String::new(),
    }
}

pub(super) fn counted_name(counted: &Counted) -> String {
    let text = format!("{counted:?}");
    text.split(|c: char| !c.is_ascii_alphanumeric()).next().unwrap_or_default().to_owned()
}
