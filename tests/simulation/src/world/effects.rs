//! What each effect does to the world.

use super::{BEGIN, FAULTS_LAST, Fate, Invocation, SKEW_MAX, STORMS, World};
use crate::load::timestamp;
use crate::receiver::Temper;
use crate::table::{DeliveryKey, row_key};
use contracts::queue::{Delivery, MessageBody};
use domain::delivery::{DeliveryRow, DeliveryState, EarlierClaim};
use domain::health::EndpointHealth;
use domain::rate_limit::RateLimitDecision;
use domain::reason::Reason;
use pipeline::deliver::{Deliver, Message};
use pipeline::{Answer, Fault, Verdict};

impl World {
    /// Performs an effect, and tells the story what came of it.
    pub(super) fn perform(&mut self, invocation: &mut Invocation, fate: Fate) -> Deliver {
        let now = self.now;
        let turn = &mut invocation.turn;
        // The answer comes at the time of the invocation's own clock.
        let started = turn.now;
        turn.now = timestamp(now + invocation.skew);
        match std::mem::replace(&mut invocation.story, Deliver::End(Verdict::Delete)) {
            Deliver::Slot(step) => {
                let slot = match fate {
                    Fate::Fails => 0,
                    _ => self.table.reserve_slot(step.fingerprint(), started.as_millisecond()),
                };
                step.answered(answer(fate, slot), turn)
            }
            Deliver::Predecessor(step) => {
                let row = step.delivery().and_then(|delivery| {
                    let (tenant, incident, _) = row_key(delivery);
                    self.table.rows.get(&(tenant, incident, step.row().to_owned())).cloned()
                });
                step.answered(answer(fate, row), turn)
            }
            Deliver::Claim(step) => {
                let members = step.members().to_vec();
                let answers = members.iter().map(|member| {
                    if fate == Fate::Fails && self.random.once_in(2) {
                        return answer(fate, Ok(EarlierClaim::default()));
                    }
                    let claimed = self.table.claim(&step, member);
                    if let Ok(EarlierClaim { may_have_sent: Some(token), .. }) = &claimed {
                        invocation.claimed_from.push((DeliveryKey::of(member), token.clone()));
                    }
                    answer(if fate == Fate::AnswerLost { fate } else { Fate::Done }, claimed)
                });
                let answers = answers.collect();
                step.answered(answers, turn)
            }
            Deliver::Limit(step) => {
                let decision = match fate {
                    Fate::Fails => RateLimitDecision::SendNow,
                    _ => self.table.reserve_place(&step, &STORMS, turn.now),
                };
                step.answered(answer(fate, decision), turn)
            }
            Deliver::Send(step) => {
                let members = step.message().members().to_vec();
                self.check_right_to_send(&members, &invocation.turn.token);
                // A single alert has no list of which it could know.
                if matches!(step.message(), Message::List(_)) {
                    self.check_not_sent_before(&members, &invocation.claimed_from);
                }
                let Some(first) = members.first() else { return Deliver::End(Verdict::Delete) };
                let calm = now > BEGIN + FAULTS_LAST;
                let response = self.receivers.answer(&first.destination, first.channel, calm, &mut self.random);
                for member in &members {
                    self.coverage.count(format!("channel: {}", member.channel));
                    if response.arrived {
                        self.receivers.arrive(DeliveryKey::of(member), now, member.attempt);
                        invocation.unmarked.push(DeliveryKey::of(member));
                    }
                }
                // A message that arrived although the sender heard of a failure is sent again.
                if response.arrived && response.answer.is_err() {
                    for key in std::mem::take(&mut invocation.unmarked) {
                        *self.excused.entry(key).or_default() += 1;
                    }
                }
                step.answered(response.answer, &mut invocation.turn)
            }
            Deliver::Endpoint(step) => {
                let half_open = |delivery: &Delivery| delivery.endpoint == EndpointHealth::HalfOpen;
                let ended = step.delivery().is_some_and(half_open).then_some(Reason::EndpointDisabled);
                step.answered(answer(fate, ended), turn)
            }
            Deliver::Disable(step) => step.answered(answer(fate, ()), turn),
            Deliver::Notify(step) => {
                if fate != Fate::Fails {
                    self.notices.extend(step.notices().iter().filter_map(|notice| match &notice.body {
                        MessageBody::Event(event) => Some(event.dedup_key.clone()),
                        _ => None,
                    }));
                }
                step.answered(answer(fate, ()), turn)
            }
            Deliver::Write(step) => {
                let marks: Vec<_> = step.marks().map(|(member, mark)| (member.clone(), mark.clone())).collect();
                let (token, at) = (step.token().to_owned(), step.at());
                let answers = marks.iter().map(|(member, mark)| {
                    // Whoever dies over the marks of a list has written some of them.
                    let (lost, some) = (fate == Fate::Fails, matches!(fate, Fate::DiesAfter | Fate::AnswerLost));
                    if lost || some && marks.len() > 1 && self.random.once_in(2) {
                        return answer(fate, false);
                    }
                    let marked = self.table.mark(member, mark, &token, at);
                    if marked {
                        invocation.unmarked.retain(|key| *key != DeliveryKey::of(member));
                    }
                    answer(fate, marked)
                });
                let answers = answers.collect();
                self.schedule_minute();
                step.answered(answers, &mut invocation.turn)
            }
            Deliver::Schedule(step) => {
                if fate != Fate::Fails {
                    step.entries().iter().for_each(|entry| self.table.schedule(entry, step.once()));
                    self.schedule_minute();
                }
                step.answered(answer(fate, ()), &mut invocation.turn)
            }
            Deliver::Release(step) => {
                if fate != Fate::Fails {
                    step.members().iter().for_each(|member| self.table.release(member, step.token()));
                }
                step.answered(answer(fate, ()), turn)
            }
            Deliver::Enqueue(step) => {
                if fate != Fate::Fails {
                    let message = Message::Single(Box::new(step.delivery().clone()));
                    self.send(message, step.lane(), i64::from(step.delay_seconds()) * 1_000);
                }
                step.answered(answer(fate, ()), &mut invocation.turn)
            }
            Deliver::Settle(step) => step.answered((), turn),
            Deliver::End(verdict) => Deliver::End(verdict),
        }
    }

    /// Whoever sends has a live claim on every row, whose token its mark will present.
    pub(super) fn check_right_to_send(&mut self, members: &[Delivery], token: &str) {
        for member in members {
            let row = self.table.rows.get(&row_key(member));
            let claimed = row.is_some_and(|row| {
                row.token == token && row.latest == member.alert.update && row.lease_until_ms >= self.now - SKEW_MAX
            });
            if !claimed {
                self.unclaimed_sends.push(format!("{} was sent by {token} without a claim", DeliveryKey::of(member)));
            }
            let next = row.and_then(|row| row.next_at_ms).filter(|_| member.attempt > 1);
            if next.is_some_and(|next| self.now + 2 * SKEW_MAX < next) {
                self.early.push(format!("{} attempt {} was sent early", DeliveryKey::of(member), member.attempt));
            }
        }
    }

    /// Nobody sends what was in a list of which some rows say that it was accepted.
    fn check_not_sent_before(&mut self, members: &[Delivery], claimed_from: &[(DeliveryKey, String)]) {
        let sent = members.iter().map(DeliveryKey::of).find(|key| {
            let before = claimed_from.iter().filter(|(of, _)| of == key);
            let accepted = |row: &DeliveryRow, token: &str| row.state == DeliveryState::Accepted && row.token == token;
            before.into_iter().any(|(_, token)| self.table.rows.values().any(|row| accepted(row, token)))
        });
        if let Some(key) = sent {
            self.unclaimed_sends.push(format!("{key} was sent again, although the list that it was in was accepted"));
        }
    }

    /// A request that nobody waited for: it arrived, or did not.
    pub(super) fn arrive_unanswered(&mut self, members: &[Delivery]) {
        let good = members.first().is_some_and(|first| {
            let temper = self.receivers.tempers.get(&first.destination);
            matches!(temper, None | Some(Temper::Good | Temper::Flaky))
        });
        if !good || self.random.once_in(2) {
            return;
        }
        for member in members {
            self.receivers.arrive(DeliveryKey::of(member), self.now, member.attempt);
            *self.excused.entry(DeliveryKey::of(member)).or_default() += 1;
        }
    }
}

fn answer<T>(fate: Fate, value: T) -> Answer<T> {
    match fate {
        Fate::Fails | Fate::AnswerLost => Err(Fault::Unavailable { code: fate.name().to_owned() }),
        Fate::Done | Fate::DiesBefore | Fate::DiesAfter => Ok(value),
    }
}
