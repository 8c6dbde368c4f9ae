//! Runs the story of a delivery on the world. Messages come twice here, but no sender dies: what that delays, the checks of this world
//! would call late. `tests/simulation` has senders that die.

use super::*;
use domain::delivery::{RowRefusal, RowWrite};
use pipeline::deliver::claim::{Claim, Limit};
use pipeline::deliver::record::{Mark, Write};
use pipeline::deliver::{Deliver, Message, begin};
use pipeline::{Accepted, Answer, SendFailure, Turn, Verdict};
use std::time::Duration;

impl World {
    pub(super) fn deliver(&mut self, message: &QueuedMessage) {
        self.number += 1;
        let mut turn = Turn {
            now: self.now,
            left: Duration::from_secs(7),
            receives: message.receives,
            lane: contracts::queue::Lane::Bulk,
            jitter: 0.5,
            token: format!("t{}", self.number),
            counted: Vec::new(),
        };
        let members = message.members.clone();
        let mut story = match <[Delivery; 1]>::try_from(members) {
            Ok([single]) if !message.batched => begin(Message::Single(Box::new(single)), &mut turn),
            Ok([single]) => begin(list(vec![single]), &mut turn),
            Err(members) => begin(list(members), &mut turn),
        };
        // Whether the delivery counts towards its contact's limits, if the limits were asked.
        let mut room = None;
        loop {
            match story {
                Deliver::End(Verdict::Delete) => return,
                Deliver::End(Verdict::Return { pause, .. }) => {
                    let pause = SignedDuration::try_from(pause).unwrap();
                    let again = self.now.saturating_add(pause).unwrap();
                    let message = QueuedMessage { receives: message.receives + 1, ..message.clone() };
                    return self.schedule_job(again, Job::Deliver(message));
                }
                Deliver::End(verdict) => panic!("{verdict:?} of {message:?}"),
                next => story = self.perform_delivery(next, message, &mut room, &mut turn),
            }
        }
    }

    fn perform_delivery(
        &mut self,
        story: Deliver,
        message: &QueuedMessage,
        room: &mut Option<bool>,
        turn: &mut Turn,
    ) -> Deliver {
        match story {
            Deliver::Slot(step) => step.answered(Ok(self.now.as_millisecond()), turn),
            Deliver::Predecessor(step) => {
                let row = step.delivery().and_then(|one| {
                    let place = (one.alert.incident_id.clone(), one.alert.tenant.clone(), step.row().to_owned());
                    self.rows.get(&place).cloned()
                });
                step.answered(Ok(row), turn)
            }
            Deliver::Claim(step) => {
                let answers = step.members().iter().map(|member| Ok(self.claim_member(&step, member))).collect();
                step.answered(answers, turn)
            }
            Deliver::Limit(step) => {
                let decision = self.reserve_place(&step, message, room);
                step.answered(Ok(decision), turn)
            }
            Deliver::Send(step) => {
                let members = step.message().members().to_vec();
                let single = matches!(step.message(), Message::Single(_));
                let first = members.first().unwrap();
                if single && self.attempt_fails(first) {
                    let failed = AttemptFailure {
                        cause: "http_503".to_owned(),
                        retry_after: None,
                        slow_down: false,
                        verdict: RetryVerdict::Retry,
                    };
                    let failed = SendFailure::Failed { failed, status: None, response: String::new(), plain: false };
                    return step.answered(Err(failed), turn);
                }
                let counts = match *room {
                    Some(room) if single => room,
                    _ => self.takes_bundle_slot(first, single),
                };
                self.accept(&members, message, counts);
                step.answered(Ok(Accepted::default()), turn)
            }
            Deliver::Endpoint(step) => step.answered(Ok(None), turn),
            Deliver::Disable(step) => step.answered(Ok(()), turn),
            Deliver::Notify(step) => step.answered(Ok(()), turn),
            Deliver::Write(step) => {
                let answers = self.write_marks(&step);
                step.answered(answers, turn)
            }
            Deliver::Schedule(step) => {
                step.entries().iter().for_each(|entry| self.put_due(entry.clone()));
                step.answered(Ok(()), turn)
            }
            Deliver::Release(step) => {
                for member in step.members().to_vec() {
                    self.apply(&key_of(&member), &RowWrite::Release { token: step.token() }).unwrap();
                }
                step.answered(Ok(()), turn)
            }
            Deliver::Enqueue(step) => {
                let at = seconds_after(self.now, step.delay_seconds().into());
                let members = vec![step.delivery().clone()];
                self.schedule_job(
                    at,
                    Job::Deliver(QueuedMessage { members, batched: false, version: message.version, receives: 1 }),
                );
                step.answered(Ok(()), turn)
            }
            Deliver::Settle(step) => step.answered((), turn),
            Deliver::End(_) => story,
        }
    }

    /// Records that the receiver accepted a message.
    fn accept(&mut self, members: &[Delivery], message: &QueuedMessage, counts: bool) {
        self.messages += 1;
        for delivery in members.iter().cloned() {
            let key = key_of(&delivery);
            let subscriber = self.tenants.iter().find(|one| one.settings.tenant == key.0);
            let settings = subscriber.map(|one| &one.settings).filter(|settings| settings.version == message.version);
            let all = subscriber.into_iter().flat_map(|one| one.destinations.iter());
            let destination = all.map(|(_, one)| one).find(|one| one.id() == key.1);
            let quiet = settings
                .zip(destination)
                .and_then(|(settings, to)| check::quiet_since(settings, to, &delivery, self.now));
            // A pause on the queue is at most a minute, so a retry may arrive in the first minute of quiet hours.
            let just_now = |before: Timestamp| delivery.attempt > 1 && self.now.duration_since(before) <= PAUSE_MAX;
            let quiet = quiet.filter(|began| !just_now(*began));
            let moments = [self.now, self.now.saturating_sub(PAUSE_MAX).unwrap()];
            let moments = if delivery.attempt > 1 { moments.as_slice() } else { &moments[..1] };
            let outside_sms_window = settings.zip(destination).is_some_and(|(settings, _)| {
                moments.iter().all(|moment| check::outside_sms_window(settings, &delivery, *moment))
            });
            self.sent.push(SentRecord {
                key,
                at: self.now,
                change: delivery.alert.change,
                message: self.messages,
                batched: message.batched,
                quiet,
                outside_sms_window,
                held: delivery.why.held.as_ref().map(|held| held.until),
                contact: contact_key(&delivery),
                counts,
            });
        }
    }

    /// Whether this attempt fails: the first two or four attempts of a quarter of the messages to people. Webhooks never fail here, because
    /// their retries may overtake each other.
    pub(super) fn attempt_fails(&self, delivery: &Delivery) -> bool {
        let Some(seed) = self.failure_seed.filter(|_| delivery.channel != Channel::Webhook) else { return false };
        let key = format!("{seed}{:?}", key_of(delivery));
        let draw = key
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3));
        let times = match (draw >> 32) % 8 {
            0 => 2,
            1 => 4,
            _ => 0,
        };
        delivery.attempt <= times
    }

    /// Applies the contact's rate limit, and notes whether there was room without an exemption.
    fn reserve_place(&mut self, step: &Limit, message: &QueuedMessage, room: &mut Option<bool>) -> RateLimitDecision {
        let Some(windows) = POLICY.storms.contacts.get(&step.class()) else { return RateLimitDecision::SendNow };
        let delivery = message.members.first().unwrap();
        let contact = contact_key(delivery).unwrap();
        let asked = self.contacts.entry(contact.clone()).or_default().clone();
        let has_room = asked.reserve(windows, self.now, None).0 == RateLimitDecision::SendNow;
        *room = Some(has_room);
        let exempt = step.exempt();
        let (decision, after) =
            asked.reserve(windows, self.now, exempt.map(|kind| (kind, POLICY.storms.exempt_per_minute)));
        self.contacts.insert(contact.clone(), after);
        let exempts =
            self.exempt_sends.entry((contact.clone(), exempt == Some(Exemption::CriticalOpening))).or_default();
        let since = self.now.saturating_sub(SignedDuration::from_secs(60)).unwrap();
        let exempt_before = exempts.iter().filter(|at| **at > since).count();
        match decision {
            RateLimitDecision::SendNow if !has_room => exempts.push(self.now),
            RateLimitDecision::SendNow => {}
            RateLimitDecision::Defer { until } => {
                // Critical openings over their allowance reserve no slot within the limits.
                if exempt != Some(Exemption::CriticalOpening) {
                    self.bundle_slots.insert((contact, until));
                }
                let key = key_of(delivery);
                self.deferred.push(DeferredRecord { key, exempt_before, exempt, at: self.now, until });
            }
        }
        decision
    }

    /// Uses the bundle slot that was reserved for a message. Returns whether there was one, and this is its first use.
    fn takes_bundle_slot(&mut self, delivery: &Delivery, single: bool) -> bool {
        let reserved = delivery.why.held.as_ref().is_some_and(|held| held.reason == Reason::Throttled);
        let place = contact_key(delivery).map(|contact| (contact, minute(self.now)));
        (reserved || !single)
            && self.has_bundle_slot(delivery)
            && place.is_some_and(|place| self.filled_slots.insert(place))
    }

    /// Whether a bundle slot was reserved for a delivery and it is sent in that minute. A delivery that a fault made late is not counted.
    fn has_bundle_slot(&self, delivery: &Delivery) -> bool {
        let in_time = |until: Timestamp| minute(until) == minute(self.now);
        let place = contact_key(delivery).map(|contact| (contact, minute_start(minute(self.now))));
        place.is_some_and(|place| self.bundle_slots.contains(&place))
            && delivery.why.held.as_ref().is_some_and(|held| in_time(held.until))
    }

    fn write_marks(&mut self, step: &Write) -> Vec<Answer<bool>> {
        let marks: Vec<(Delivery, Mark)> = step.marks().map(|(member, mark)| (member.clone(), mark.clone())).collect();
        let write = |(member, mark): &(Delivery, Mark)| {
            let key = key_of(member);
            if self.apply(&key, &mark.row_write(member, step.token(), step.at())).is_err() {
                return Ok(false);
            }
            match mark {
                Mark::Retry { due, .. } => {
                    self.failed.insert(key);
                    if let Some(due) = due {
                        self.put_due((**due).clone());
                    }
                }
                Mark::Defer { reason, due } => {
                    let outcome = DecisionOutcome::Hold { until: due.at, reason: *reason, role: due.role };
                    self.record_revision(due, due.to_decision(outcome));
                    self.put_due((**due).clone());
                }
                Mark::Accept { .. } => {}
                Mark::Fail { .. } => panic!("four failures are not the last: {member:?}"),
            }
            Ok(true)
        };
        marks.iter().map(write).collect()
    }

    fn claim_member(&mut self, claim: &Claim, member: &Delivery) -> Result<EarlierClaim, ClaimRefusal> {
        let key = key_of(member);
        let before = earlier_claim(self.row(&key), key.4, member.attempt);
        let write = RowWrite::Claim {
            update: key.4,
            attempt: member.attempt,
            token: claim.token(),
            now_ms: claim.at().as_millisecond(),
            lease_until_ms: claim.lease_until_ms(),
            channel: member.channel,
        };
        match self.apply(&key, &write) {
            Ok(()) => Ok(before),
            Err(RowRefusal::Claim(refusal)) => Err(refusal),
            Err(other) => panic!("{other:?} is no answer to a claim"),
        }
    }

    pub(super) fn row(&self, key: &DeliveryKey) -> Option<&DeliveryRow> {
        self.rows.get(&row_place(key))
    }

    /// Carries out a write on the row of a delivery, by the rule that the table follows.
    pub(super) fn apply(&mut self, key: &DeliveryKey, write: &RowWrite<'_>) -> Result<(), RowRefusal> {
        let row = DeliveryRow::apply(self.row(key), write)?;
        self.rows.extend(row.map(|row| (row_place(key), row)));
        Ok(())
    }

    /// Ends a delivery without sending it, as `store` does: a claim without a lease, and the mark.
    pub(super) fn end_unsent(&mut self, key: &DeliveryKey, attempt: u32, reason: Reason) -> Result<(), RowRefusal> {
        let now_ms = self.now.as_millisecond();
        let (update, token, channel) = (key.4, "end", key.2);
        self.apply(key, &RowWrite::Claim { update, attempt, token, now_ms, lease_until_ms: 0, channel })?;
        let attempt = attempt.saturating_sub(1);
        self.apply(key, &RowWrite::Fail { update, attempt, token, at: self.now, reason, cause: None })
    }
}

fn list(members: Vec<Delivery>) -> Message {
    Message::List(Box::new(contracts::queue::BatchDelivery { v: 1, members, omitted_count: 0, storm: false }))
}

fn row_place(key: &DeliveryKey) -> (IncidentId, TenantId, String) {
    (key.3.clone(), key.0.clone(), delivery_row_key(&key.1, key.2, key.4))
}
