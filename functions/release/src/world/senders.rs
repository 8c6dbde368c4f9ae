//! What the `deliver-*` functions do: claim, rate limit, send, mark, retry.

use super::*;

impl World {
    pub(super) fn deliver(&mut self, message: &QueuedMessage) {
        let mut mine = Vec::new();
        let mut before = EarlierClaim::default();
        for delivery in &message.members {
            if let Ok(was) = self.claim(&key_of(delivery), delivery.attempt) {
                mine.push(delivery.clone());
                before = was;
            }
        }
        let Some(first) = mine.first().cloned() else { return };
        let counts = if message.batched {
            self.take_bundle_slot(&first)
        } else {
            match self.defer_if_rate_limited(&first, before) {
                Some(counts) => counts,
                None => return,
            }
        };
        if !message.batched && self.attempt_fails(&first) {
            self.schedule_retry(first, message.version);
            return;
        }
        self.messages += 1;
        for delivery in mine {
            let key = key_of(&delivery);
            if let Some(row) = self.row(&key) {
                (row.done, row.state, row.attempts, row.lease_until_ms) =
                    (key.4, DeliveryState::Accepted, delivery.attempt, 0);
            }
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

    /// Marks a failed attempt and schedules the retry: on the queue, or in the due index after a longer pause.
    pub(super) fn schedule_retry(&mut self, delivery: Delivery, version: u64) {
        let why = AttemptFailure {
            cause: "http_503".to_owned(),
            retry_after: None,
            slow_down: false,
            verdict: RetryVerdict::Retry,
        };
        let (key, tried) = (key_of(&delivery), delivery.attempt);
        let at = match decide_next_step(delivery.channel, tried, &why, self.now, 0.5) {
            NextStep::Retry { at } => at,
            NextStep::GiveUp { .. } => panic!("four failures are not the last: {delivery:?}"),
        };
        if let Some(row) = self.row(&key) {
            (row.state, row.attempts, row.lease_until_ms, row.reason) = (DeliveryState::Retrying, tried, 0, None);
            row.next_at_ms = Some(at.as_millisecond());
        }
        self.failed.insert(key);
        let again = Delivery { attempt: tried + 1, ..delivery };
        let pause = at.duration_since(self.now);
        if pause > SignedDuration::from_secs(queue_delay_max(again.channel).into()) {
            self.put_due(ScheduledDelivery {
                at,
                tenant: again.alert.tenant.clone(),
                destination: again.destination.clone(),
                channel: again.channel,
                incident_id: again.alert.incident_id.clone(),
                update: again.alert.update,
                attempt: again.attempt,
                plain: again.plain,
                role: again.why.role,
                held: None,
                held_before: again.why.held,
                omitted_count: 0,
                rebatched: false,
                resend_requested: false,
            });
        } else {
            self.schedule_job(at, Job::Deliver(QueuedMessage { members: vec![again], batched: false, version }));
        }
    }

    /// Applies the contact's rate limit. `None` if the delivery was deferred; otherwise whether it counts towards the limit.
    pub(super) fn defer_if_rate_limited(&mut self, delivery: &Delivery, before: EarlierClaim) -> Option<bool> {
        let windows = POLICY.storms.contacts.get(&delivery.channel.class());
        let Some((contact, windows)) = contact_key(delivery).zip(windows) else { return Some(false) };
        let reserved = delivery.why.held.as_ref().is_some_and(|held| held.reason == Reason::Throttled);
        if !delivery.bundle || delivery.attempt > 1 || delivery.alert.test || reserved {
            return Some(reserved && self.take_bundle_slot(delivery));
        }
        let exempt = delivery.alert.rate_limit_exemption();
        let asked = self.contacts.entry(contact.clone()).or_default().clone();
        let room = asked.reserve(windows, self.now, None).0 == RateLimitDecision::SendNow;
        let may = match before.deferred_until {
            Some(until) => RateLimitDecision::Defer { until },
            None => {
                let (may, after) =
                    asked.reserve(windows, self.now, exempt.map(|kind| (kind, POLICY.storms.exempt_per_minute)));
                self.contacts.insert(contact.clone(), after);
                may
            }
        };
        let exempts =
            self.exempt_sends.entry((contact.clone(), exempt == Some(Exemption::CriticalOpening))).or_default();
        let since = self.now.saturating_sub(SignedDuration::from_secs(60)).unwrap();
        let exempt_before = exempts.iter().filter(|at| **at > since).count();
        match may {
            RateLimitDecision::SendNow => {
                if !room {
                    exempts.push(self.now);
                }
                Some(room)
            }
            RateLimitDecision::Defer { until: at } => {
                let key = key_of(delivery);
                // Critical openings over their allowance reserve no slot within the limits.
                if exempt != Some(Exemption::CriticalOpening) {
                    self.bundle_slots.insert((contact, at));
                }
                let since = delivery.why.held.as_ref().map_or(delivery.alert.at, |held| held.since);
                let due = ScheduledDelivery {
                    at,
                    tenant: key.0.clone(),
                    destination: key.1.clone(),
                    channel: key.2,
                    incident_id: key.3.clone(),
                    update: key.4,
                    attempt: delivery.attempt,
                    plain: delivery.plain,
                    role: delivery.why.role,
                    held: Some(Hold { since, reason: Reason::Throttled, always_listed: exempt.is_some() }),
                    held_before: None,
                    omitted_count: 0,
                    rebatched: false,
                    resend_requested: false,
                };
                let outcome = DecisionOutcome::Hold { until: at, reason: Reason::Throttled, role: due.role };
                self.record_revision(&due, due.to_decision(outcome));
                self.put_due(due);
                if let Some(row) = self.row(&key) {
                    (row.state, row.attempts, row.lease_until_ms) = (DeliveryState::Retrying, delivery.attempt - 1, 0);
                    row.next_at_ms = Some(at.as_millisecond());
                    row.reason = Some(Reason::Throttled);
                }
                if before.deferred_until.is_none() {
                    self.deferred.push(DeferredRecord { key, exempt_before, exempt, at: self.now, until: at });
                }
                None
            }
        }
    }

    /// Uses the bundle slot that was reserved for a delivery. Returns whether there was one, and this is its first use.
    pub(super) fn take_bundle_slot(&mut self, delivery: &Delivery) -> bool {
        let place = contact_key(delivery).map(|contact| (contact, minute(self.now)));
        self.has_bundle_slot(delivery) && place.is_some_and(|place| self.filled_slots.insert(place))
    }

    /// Whether a bundle slot was reserved for a delivery and it is sent in that minute. A delivery that a fault made late is not counted.
    pub(super) fn has_bundle_slot(&self, delivery: &Delivery) -> bool {
        let in_time = |until: Timestamp| minute(until) == minute(self.now);
        let place = contact_key(delivery).map(|contact| (contact, minute_start(minute(self.now))));
        place.is_some_and(|place| self.bundle_slots.contains(&place))
            && delivery.why.held.as_ref().is_some_and(|held| in_time(held.until))
    }

    pub(super) fn row(&mut self, key: &DeliveryKey) -> Option<&mut DeliveryRow> {
        self.rows.get_mut(&(key.3.clone(), key.0.clone(), delivery_row_key(&key.1, key.2, key.4)))
    }

    pub(super) fn claim(&mut self, key: &DeliveryKey, attempt: u32) -> Result<EarlierClaim, ClaimRefusal> {
        let now_ms = self.now.as_millisecond();
        let row = self.row(key);
        if let Some(refusal) = claim_refusal(row.as_deref(), key.4, attempt, now_ms) {
            return Err(refusal);
        }
        let before = earlier_claim(row.as_deref(), key.4, attempt);
        let done = row.map_or(0, |row| row.done);
        let claimed = DeliveryRow {
            latest: key.4,
            done,
            state: DeliveryState::Sending,
            attempts: attempt.saturating_sub(1),
            lease_until_ms: now_ms,
            token: String::new(),
            channel: key.2,
            feedback: None,
            next_at_ms: None,
            cause: None,
            reason: None,
            provider_id: None,
            at: None,
            latency_ms: None,
            late: false,
        };
        self.rows.insert((key.3.clone(), key.0.clone(), delivery_row_key(&key.1, key.2, key.4)), claimed);
        Ok(before)
    }

    /// Ends a delivery without sending. Returns `false` if it is over already, or a newer update superseded it.
    pub(super) fn end_unsent(&mut self, key: &DeliveryKey, attempt: u32) -> bool {
        if self.claim(key, attempt).is_err() {
            return false;
        }
        if let Some(row) = self.row(key) {
            (row.done, row.state, row.attempts, row.lease_until_ms) =
                (key.4, DeliveryState::Failed, attempt.saturating_sub(1), 0);
        }
        true
    }
}
