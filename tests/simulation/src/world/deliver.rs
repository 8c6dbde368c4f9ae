//! The effects of the senders.

use super::contacts::contact_of;
use super::{DeferredRecord, Fate, Invocation, POLICY, RefusalRecord, SKEW_MAX, SentRecord, World, timestamp};
use crate::check::wall_clock;
use crate::queue::Body;
use crate::receiver::Temper;
use crate::scenario::seconds_after;
use crate::table::DeliveryKey;
use contracts::queue::{Delivery, DeliveryTarget, Lane, MessageBody};
use domain::delivery::{DeliveryRow, DeliveryState, EarlierClaim, ProviderMessage, SentMessage};
use domain::health::{EndpointHealth, PROBE_AFTER};
use domain::ids::SuppressionId;
use domain::incident::Change;
use domain::rate_limit::{CallSlot, Exemption, RateLimitDecision};
use domain::reason::Reason;
use domain::tenant::{Destination, Disablement};
use domain::vocabulary::{Channel, Severity};
use jiff::{SignedDuration, Timestamp};
use pipeline::deliver::claim::Limit;
use pipeline::deliver::record::{Mark, Settle, Write};
use pipeline::deliver::{Deliver, Message, contact_key};
use pipeline::{Answer, SendFailure, Verdict};
use std::collections::{BTreeMap, BTreeSet};

/// What a sender's invocation is about, and did so far.
#[derive(Clone, Debug, Default)]
pub(super) struct SenderState {
    /// The version of the settings that the delivery was decided with.
    version: u64,
    /// The deliveries of its message.
    pub(super) keys: Vec<DeliveryKey>,
    /// Whether the message is a list.
    listed: bool,
    /// Whether a chat webhook's rate limiter delayed it.
    waited: bool,
    /// What it sent and did not mark yet.
    pub(super) unmarked: Vec<DeliveryKey>,
    /// What it claimed from an invocation that may have sent it, with that one's token.
    claimed_from: Vec<(DeliveryKey, String)>,
    /// Whether there was room within the contact's limits without an exemption, and when they were asked, by the sender's clock.
    room: Option<(bool, Timestamp)>,
}

impl SenderState {
    pub(super) fn of(message: &Message, version: u64) -> Self {
        let listed = matches!(message, Message::List(_));
        let keys = message.members().iter().map(DeliveryKey::of).collect();
        Self { version, keys, listed, ..Self::default() }
    }
}

/// What the contacts' rate limits gave out.
#[derive(Debug, Default)]
pub(super) struct Limits {
    /// When exempt messages were sent to a contact over its limit, by contact and whether they were critical openings.
    exempt_sends: BTreeMap<(String, bool), Vec<Timestamp>>,
    /// The minutes in which a contact has a slot reserved for its bundle.
    bundle_slots: BTreeSet<(String, i64)>,
    /// The slots that a bundle used. A second bundle in the same minute names what the full one could not omit.
    used_slots: BTreeSet<(String, i64)>,
    /// How many messages were accepted so far.
    messages: u64,
}

impl World {
    /// Performs an effect of a sender, and tells the story what came of it. The effect began at `started` by the sender's clock.
    pub(super) fn perform_delivery(
        &mut self,
        story: Deliver,
        invocation: &mut Invocation,
        fate: Fate,
        started: Timestamp,
    ) -> Deliver {
        let turn = &mut invocation.turn;
        match story {
            Deliver::Slot(step) => {
                let slot = match fate {
                    Fate::Fails => CallSlot::Full,
                    _ => self.table.reserve_slot(step.fingerprint(), started.as_millisecond(), step.within_ms()),
                };
                step.answered(fate.answer(slot), turn)
            }
            Deliver::Predecessor(step) => {
                let row = step.delivery().and_then(|delivery| {
                    let (tenant, incident, _) = DeliveryKey::of(delivery).row();
                    self.table.rows.get(&(tenant, incident, step.row().to_owned())).cloned()
                });
                step.answered(fate.answer(row), turn)
            }
            Deliver::Claim(step) => {
                let mut answers = Vec::new();
                for member in step.members().to_vec() {
                    if fate == Fate::Fails && self.random.once_in(2) {
                        answers.push(fate.answer(Ok(EarlierClaim::default())));
                        continue;
                    }
                    let claimed = self.table.claim(&step, &member);
                    if let Ok(EarlierClaim { may_have_sent: Some(token), .. }) = &claimed {
                        invocation.sender.claimed_from.push((DeliveryKey::of(&member), token.clone()));
                    }
                    let fate = if fate == Fate::AnswerLost { fate } else { Fate::Done };
                    answers.push(fate.answer(claimed));
                }
                step.answered(answers, &mut invocation.turn)
            }
            Deliver::Limit(step) => {
                let decision = match fate {
                    Fate::Fails => RateLimitDecision::SendNow,
                    _ => self.reserve_place(&step, invocation),
                };
                step.answered(fate.answer(decision), &mut invocation.turn)
            }
            Deliver::Send(step) => self.perform_send(step, invocation),
            Deliver::Refusal(step) => {
                if fate != Fate::Fails {
                    let text = serde_json::to_string(step.refused()).unwrap_or_default();
                    self.send(Body::Report { text, facts: None }, Lane::Urgent, 0);
                }
                step.answered(fate.answer(()), &mut invocation.turn)
            }
            Deliver::Endpoint(step) => {
                let ended = step.delivery().cloned().filter(|_| fate != Fate::Fails);
                let ended = ended.and_then(|delivery| self.count_failure(&delivery));
                step.answered(fate.answer(ended), &mut invocation.turn)
            }
            Deliver::Disable(step) => {
                if let Some(delivery) = step.delivery().cloned().filter(|_| fate != Fate::Fails) {
                    self.disable(&delivery, step.cause());
                }
                step.answered(fate.answer(()), &mut invocation.turn)
            }
            Deliver::Notify(step) => {
                if fate != Fate::Fails {
                    self.log.notices.extend(step.notices().iter().filter_map(|notice| match &notice.body {
                        MessageBody::Event(event) => Some(event.dedup_key.clone()),
                        _ => None,
                    }));
                }
                step.answered(fate.answer(()), turn)
            }
            Deliver::Write(step) => {
                let answers = self.write_marks(&step, invocation, fate);
                step.answered(answers, &mut invocation.turn)
            }
            Deliver::Schedule(step) => {
                if !self.is_left_out(fate) {
                    self.table.schedule(step.entry(), true);
                }
                step.answered(fate.answer(()), &mut invocation.turn)
            }
            Deliver::Release(step) => {
                for member in step.members().to_vec() {
                    if !self.is_left_out(fate) {
                        self.table.release(&member, step.token());
                    }
                }
                step.answered(fate.answer(()), &mut invocation.turn)
            }
            Deliver::Enqueue(step) => {
                if fate != Fate::Fails {
                    let message = Message::Single(Box::new(step.delivery().clone()));
                    let version = invocation.sender.version;
                    let delay = i64::from(step.delay_seconds()) * 1_000;
                    self.send(Body::Delivery { message, version }, step.lane(), delay);
                }
                step.answered(fate.answer(()), &mut invocation.turn)
            }
            Deliver::Settle(step) => {
                for member in step.members().to_vec() {
                    self.endpoint(&member, |integration| integration.failing = None);
                }
                self.name_messages(&step, fate);
                step.answered((), &mut invocation.turn)
            }
            Deliver::End(verdict) => Deliver::End(verdict),
        }
    }

    fn perform_send(&mut self, step: pipeline::deliver::outcome::Send, invocation: &mut Invocation) -> Deliver {
        let members = step.message().members().to_vec();
        invocation.sender.waited = step.waited();
        self.check_right_to_send(&members, &invocation.turn.token);
        // A single alert has no list of which it could know.
        let listed = matches!(step.message(), Message::List(_));
        if listed {
            self.check_not_sent_before(&members, &invocation.sender.claimed_from);
        }
        let Some(first) = members.first() else { return Deliver::End(Verdict::Delete) };
        if let Some(reason) = self.refused_contact(&first.target) {
            let (key, contact, at) = (DeliveryKey::of(first), contact_of(&first.target), self.now);
            self.log.refusals.extend(contact.map(|contact| RefusalRecord { key, contact, at }));
            return step.answered(Err(SendFailure::permanent(reason.as_str())), &mut invocation.turn);
        }
        let calm = self.calm();
        let response = self.receivers.answer(&first.destination, first.channel, calm, &mut self.random);
        if let (true, Some(contact)) = (response.arrived, contact_of(&first.target)) {
            self.check_silence(first.channel, &contact, &DeliveryKey::of(first).to_string());
            let id = response.answer.as_ref().ok().and_then(|accepted| accepted.provider_id.clone());
            self.report_later(first.channel, &contact, &id.unwrap_or_else(|| format!("unheard-{}", self.now)));
        }
        for member in &members {
            self.coverage.count(format!("channel: {}", member.channel));
            if member.alert.severity == Severity::Critical && member.alert.category.is_some() {
                self.log.critical.insert(DeliveryKey::of(member));
            }
            if response.arrived {
                self.receivers.arrive(DeliveryKey::of(member), self.now, member.attempt);
                invocation.sender.unmarked.push(DeliveryKey::of(member));
            }
        }
        // A message that arrived although the sender got an error is sent again.
        if response.arrived && response.answer.is_err() {
            for key in std::mem::take(&mut invocation.sender.unmarked) {
                *self.log.excused.entry(key).or_default() += 1;
            }
        }
        if response.answer.is_err() {
            self.log.slowed.extend(invocation.sender.keys.iter().map(|key| key.thread.clone()));
        } else {
            let counts_at = match invocation.sender.room {
                Some((room, at)) if !listed => room.then_some(at),
                _ => self.bundle_slot(first, !listed),
            };
            self.accept(&members, invocation, counts_at);
        }
        step.answered(response.answer, &mut invocation.turn)
    }

    /// What the senders find out before or while they send: the address is suppressed for every tenant, or SNS refuses the number.
    fn refused_contact(&mut self, target: &DeliveryTarget) -> Option<Reason> {
        match target {
            DeliveryTarget::Email { address, .. } => self.table.address_suppression(address).map(|found| found.reason),
            DeliveryTarget::Sms { phone, .. } => {
                self.outside.refuses(Channel::Sms, phone.expose()).then_some(Reason::OptedOut)
            }
            DeliveryTarget::Chat { .. } | DeliveryTarget::Webhook { .. } => None,
        }
    }

    /// Notes what was sent with a provider's message, as `delivery` does: each on its own.
    fn name_messages(&mut self, step: &Settle, fate: Fate) {
        let Some((id, contact)) = step.provider_message() else { return };
        for member in step.members() {
            if self.is_left_out(fate) {
                continue;
            }
            let message = ProviderMessage {
                tenant: member.alert.tenant.clone(),
                incident_id: member.alert.incident_id.clone(),
                row: member.row_key(),
                destination: member.destination.clone(),
                update: member.alert.update,
                category: member.alert.category,
                contact: Some(contact.clone()),
                suppression: match &member.target {
                    DeliveryTarget::Email { address, .. } => Some(SuppressionId::of(address)),
                    _ => None,
                },
            };
            self.table.name_message(member.channel, id, SentMessage::Delivery(message), self.now);
        }
    }

    /// Records that the receiver accepted a message.
    fn accept(&mut self, members: &[Delivery], invocation: &Invocation, counts_at: Option<Timestamp>) {
        let (version, listed) = (invocation.sender.version, invocation.sender.listed);
        self.limits.messages += 1;
        let now = self.now();
        for delivery in members {
            let subscriber = self.table.tenant(&delivery.alert.tenant);
            // Whoever changed the settings in between is sent what was decided before.
            let settings = subscriber.map(|one| &one.settings).filter(|settings| settings.version == version);
            let all = subscriber.into_iter().flat_map(|one| &one.destinations);
            let destination = all.map(|(_, one)| one).find(|one| one.id() == delivery.destination);
            // Clocks differ: what was decided after the end by one of them may be sent before it by another.
            let soon = seconds_after(now, 2 * SKEW_MAX / 1_000);
            let quiet = settings.zip(destination).and_then(|(settings, to)| {
                let since = |at| wall_clock::quiet_since(settings, to, delivery, at);
                since(now).filter(|_| since(soon).is_some())
            });
            let outside = settings.is_some_and(|settings| {
                // What was decided within the window may be sent a little later.
                let earlier = seconds_after(now, -wall_clock::TOLERANCE_SECONDS);
                [now, earlier, soon].iter().all(|at| wall_clock::outside_sms_window(settings, delivery, *at))
            });
            self.log.sent.push(SentRecord {
                key: DeliveryKey::of(delivery),
                at: now,
                change: delivery.alert.change,
                message: self.limits.messages,
                listed,
                quiet,
                outside_sms_window: outside,
                held: delivery.why.held.as_ref().map(|held| held.until),
                always_listed: delivery.alert.rate_limit_exemption().is_some(),
                held_for: delivery.why.held.as_ref().map(|held| held.reason),
                waited: invocation.sender.waited,
                contact: contact_key(delivery),
                counts_at,
            });
        }
    }

    /// Where a critical opening waits beyond its tenant's alert window, the org admins were notified before that was written.
    fn check_window(&mut self, member: &Delivery, mark: &Mark) {
        let next_at = match mark {
            Mark::Retry { at, .. } => *at,
            Mark::Wait { until, .. } => *until,
            Mark::Defer { due, .. } => due.at,
            Mark::Accept { .. } | Mark::Fail { .. } | Mark::Leave { .. } => return,
        };
        let alert = &member.alert;
        let opens = matches!(alert.change, Change::Opened | Change::SeverityRaised);
        let critical = alert.severity == Severity::Critical && alert.category.is_some() && opens && !alert.test;
        let on_purpose = member.why.held.is_some() || member.resend_requested;
        let late = next_at > seconds_after(alert.at, i64::from(member.window_seconds));
        if critical && late && !on_purpose && !self.log.notices.contains(&format!("{}:window", alert.incident_id)) {
            let finding =
                format!("{} misses its window until {next_at}, and nobody is notified", DeliveryKey::of(member));
            self.log.findings.push(finding);
        }
    }

    fn write_marks(&mut self, step: &Write, invocation: &mut Invocation, fate: Fate) -> Vec<Answer<bool>> {
        let marks: Vec<(Delivery, Mark)> = step.marks().map(|(member, mark)| (member.clone(), mark.clone())).collect();
        let mut answers = Vec::with_capacity(marks.len());
        for (member, mark) in &marks {
            // Whoever dies over the marks of a list has written some of them.
            let some = marks.len() > 1 && matches!(fate, Fate::DiesAfter | Fate::AnswerLost);
            if fate == Fate::Fails || some && self.random.once_in(2) {
                answers.push(fate.answer(false));
                continue;
            }
            let key = DeliveryKey::of(member);
            let marked = self.table.mark(member, mark, step.token(), step.at());
            if marked {
                self.check_window(member, mark);
                invocation.sender.unmarked.retain(|one| *one != key);
            }
            self.check_same_time(&key, mark, marked);
            if let (true, Mark::Retry { .. }) = (marked, mark) {
                self.log.failed.insert(key);
            }
            answers.push(fate.answer(marked));
        }
        answers
    }

    /// Applies the contact's rate limit, and notes whether there was room without an exemption.
    fn reserve_place(&mut self, step: &Limit, invocation: &mut Invocation) -> RateLimitDecision {
        let Some(windows) = POLICY.storms.contacts.get(&step.class()) else { return RateLimitDecision::SendNow };
        let now = invocation.turn.now;
        let contact = step.contact().to_owned();
        let has_room = self.table.contact(&contact).reserve(windows, now, None).0 == RateLimitDecision::SendNow;
        invocation.sender.room = Some((has_room, now));
        let exempt = step.exempt();
        let decision = self.table.reserve_place(step, &POLICY.storms, now);
        let critical = exempt == Some(Exemption::CriticalOpening);
        let exempts = self.limits.exempt_sends.entry((contact.clone(), critical)).or_default();
        let since = now.saturating_sub(SignedDuration::from_secs(60)).unwrap_or(now);
        let exempt_before = exempts.iter().filter(|at| **at > since).count();
        match decision {
            RateLimitDecision::SendNow if !has_room => exempts.push(now),
            RateLimitDecision::SendNow => {}
            RateLimitDecision::Defer { until } => {
                // Critical openings over their allowance reserve no slot within the limits.
                if !critical {
                    self.limits.bundle_slots.insert((contact, minute(until)));
                }
                let key = invocation.sender.keys.first().cloned();
                self.log.deferred.extend(key.map(|key| DeferredRecord { key, exempt_before, exempt, at: now, until }));
            }
        }
        decision
    }

    /// Uses the bundle slot that was reserved for a message. Returns its time, if there was one and this is its first use. A delivery that a
    /// fault made late is not counted.
    fn bundle_slot(&mut self, delivery: &Delivery, single: bool) -> Option<Timestamp> {
        let held = delivery.why.held.as_ref()?;
        let slot = (contact_key(delivery)?, minute(self.now()));
        let reserved = held.reason == Reason::Throttled || !single;
        let used = reserved
            && minute(held.until) == slot.1
            && self.limits.bundle_slots.contains(&slot)
            && self.limits.used_slots.insert(slot);
        used.then_some(held.until)
    }

    /// Counts an endpoint's failure. Returns the reason to give up.
    fn count_failure(&mut self, delivery: &Delivery) -> Option<Reason> {
        let now = self.now();
        match delivery.endpoint {
            EndpointHealth::HalfOpen => {
                self.endpoint(delivery, |integration| {
                    if let Some(disabled) = &mut integration.disabled {
                        disabled.probe_at = now.saturating_add(PROBE_AFTER).ok();
                    }
                });
                Some(Reason::EndpointDisabled)
            }
            health if health.failed_for_too_long(now) => {
                self.disable(delivery, "failing_too_long");
                Some(Reason::EndpointDisabled)
            }
            EndpointHealth::Failing { .. } => None,
            EndpointHealth::Healthy => {
                self.endpoint(delivery, |integration| integration.failing = integration.failing.or(Some(now)));
                None
            }
        }
    }

    fn disable(&mut self, delivery: &Delivery, cause: &str) {
        let now = self.now();
        let cause = cause.to_owned();
        self.endpoint(delivery, |integration| {
            let probe_at = now.saturating_add(PROBE_AFTER).ok();
            integration.disabled.get_or_insert(Disablement { at: now, cause: cause.clone(), probe_at });
        });
    }

    /// Changes the integration that a delivery goes to.
    fn endpoint(&mut self, delivery: &Delivery, change: impl Fn(&mut domain::tenant::Integration)) {
        let tenants = self.table.tenants.iter_mut();
        let of_tenant = tenants.filter(|one| one.settings.tenant == delivery.alert.tenant);
        for (_, destination) in of_tenant.flat_map(|one| &mut one.destinations) {
            if let Destination::Integration(integration) = destination
                && integration.id.as_str() == delivery.destination
            {
                change(integration);
            }
        }
    }

    /// Whoever sends has a live claim on every row, whose token its mark will present.
    fn check_right_to_send(&mut self, members: &[Delivery], token: &str) {
        for member in members {
            let key = DeliveryKey::of(member);
            let row = self.table.rows.get(&key.row());
            let claimed = row.is_some_and(|row| {
                row.token == token && row.latest == key.update && row.lease_until_ms >= self.now - SKEW_MAX
            });
            if !claimed {
                self.log.findings.push(format!("{key} was sent by {token} without a claim"));
            }
            // After a lost answer the due index may have an attempt twice, at its old time and at a later one.
            let expected = member.attempt > 1 && !self.log.disturbed.contains(&key.thread);
            // Of two runs of `release` at the beginning of quiet hours, one may hold a retry that the other sends.
            let retried = row.filter(|row| expected && row.reason.is_none());
            let next = retried.and_then(|row| row.next_at_ms);
            if next.is_some_and(|next| self.now + 2 * SKEW_MAX < next) {
                self.log.findings.push(format!("{key} attempt {} was sent early", member.attempt));
            }
        }
    }

    /// A row says when its due entry is due.
    fn check_same_time(&mut self, key: &DeliveryKey, mark: &Mark, marked: bool) {
        let (Mark::Retry { due: Some(due), .. } | Mark::Defer { due, .. }) = mark else { return };
        let next = self.table.rows.get(&key.row()).and_then(|row| row.next_at_ms);
        if marked && next != Some(due.at.as_millisecond()) {
            self.log.findings.push(format!("{key} is due at {}, and its row says {next:?}", due.at));
        }
    }

    /// Nobody sends what was in a list of which some rows say that it was accepted.
    fn check_not_sent_before(&mut self, members: &[Delivery], claimed_from: &[(DeliveryKey, String)]) {
        let sent = members.iter().map(DeliveryKey::of).find(|key| {
            let accepted = |row: &DeliveryRow, token: &str| row.state == DeliveryState::Accepted && row.token == token;
            let mut before = claimed_from.iter().filter(|(of, _)| of == key);
            before.any(|(_, token)| self.table.rows.values().any(|row| accepted(row, token)))
        });
        if let Some(key) = sent {
            self.log.findings.push(format!("{key} was sent again, although the list that it was in was accepted"));
        }
    }

    /// The request of an invocation whose time is over: it arrived, or did not, and nobody waited for the answer.
    pub(super) fn abandon_send(&mut self, invocation: &Invocation) {
        let super::Story::Deliver(Deliver::Send(step)) = &invocation.story else { return };
        let members = step.message().members();
        let temper = members.first().and_then(|first| self.receivers.tempers.get(&first.destination));
        let good = matches!(temper, None | Some(Temper::Good | Temper::Flaky));
        if !good || self.random.once_in(2) {
            return;
        }
        for member in members {
            self.receivers.arrive(DeliveryKey::of(member), self.now, member.attempt);
            *self.log.excused.entry(DeliveryKey::of(member)).or_default() += 1;
        }
    }
}

fn minute(at: Timestamp) -> i64 {
    timestamp(at.as_millisecond()).as_second().div_euclid(60)
}
