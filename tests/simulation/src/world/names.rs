//! Names of effects, for traces and counts.

use crate::table::DeliveryKey;
use contracts::queue::Delivery;
use pipeline::Counted;
use pipeline::deliver::Deliver;

pub(super) fn effect_name(story: &Deliver) -> &'static str {
    match story {
        Deliver::Slot(_) => "slot",
        Deliver::Predecessor(_) => "predecessor",
        Deliver::Claim(_) => "claim",
        Deliver::Limit(_) => "limit",
        Deliver::Send(_) => "send",
        Deliver::Endpoint(_) => "endpoint",
        Deliver::Disable(_) => "disable",
        Deliver::Notify(_) => "notify",
        Deliver::Write(_) => "write",
        Deliver::Schedule(_) => "schedule",
        Deliver::Release(_) => "release",
        Deliver::Enqueue(_) => "enqueue",
        Deliver::Settle(_) => "settle",
        Deliver::End(_) => "end",
    }
}

pub(super) fn describe(story: &Deliver) -> String {
    let names = |members: &[Delivery]| {
        let names = members.iter().map(|member| format!("{} attempt {}", DeliveryKey::of(member), member.attempt));
        names.collect::<Vec<_>>().join("; ")
    };
    match story {
        Deliver::Claim(step) => names(step.members()),
        Deliver::Send(step) => names(step.message().members()),
        Deliver::Release(step) => names(step.members()),
        Deliver::Settle(step) => names(step.members()),
        Deliver::Enqueue(step) => format!("{} in {} s", names(&[step.delivery().clone()]), step.delay_seconds()),
        Deliver::Write(step) => {
            let marks = step.marks().map(|(member, mark)| format!("{}: {mark:?}", DeliveryKey::of(member)));
            marks.collect::<Vec<_>>().join("; ")
        }
        Deliver::Schedule(step) => {
            let entries = step.entries().iter().map(|due| format!("{} at {}", DeliveryKey::of_due(due), due.at));
            entries.collect::<Vec<_>>().join("; ")
        }
        _ => String::new(),
    }
}

pub(super) fn counted_name(counted: &Counted) -> String {
    let text = format!("{counted:?}");
    text.split(|c: char| !c.is_ascii_alphanumeric()).next().unwrap_or_default().to_owned()
}
