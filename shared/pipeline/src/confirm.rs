//! The story of one confirmation request: send → name its message, or record a refusal. It has no delivery row and no retries: the admin
//! sees the outcome, and can request it again.

use crate::deliver::throttle_pause;
use crate::send::{Accepted, SendFailure};
use crate::turn::{Answer, Counted, Turn, Verdict};
use contracts::queue::ConfirmationRequest;
use domain::vocabulary::Channel;
use std::time::Duration;

/// The longest pause after the provider throttled us. With it a request waits for more than two hours before its queue gives it up.
const THROTTLE_PAUSE_MAX: Duration = Duration::from_secs(600);

/// The next effect of a confirmation request.
#[must_use]
#[derive(Clone, Debug)]
pub enum Confirm {
    /// Send the request, once per receive of its message.
    Send(SendRequest),
    /// Store whose message the provider's id is, for later bounces and complaints.
    Name(NameMessage),
    /// Record that the provider refused it.
    Refuse(Refuse),
    /// Nothing: the story is over.
    End(Verdict),
}

/// Sends the request once.
#[derive(Clone, Debug)]
pub struct SendRequest {
    request: Box<ConfirmationRequest>,
    channel: Channel,
}

/// Stores whose message the provider's id is. Nothing else depends on it.
#[derive(Clone, Debug)]
pub struct NameMessage {
    request: Box<ConfirmationRequest>,
    provider_id: String,
}

/// Records the refusal, for the admin who asked.
#[derive(Clone, Debug)]
pub struct Refuse {
    /// The request that the provider refused.
    pub request: Box<ConfirmationRequest>,
    /// The channel that it was to confirm.
    pub channel: Channel,
    /// The refusal's code.
    pub cause: String,
}

/// Begins the story of `request` on `channel`.
pub fn begin(request: Box<ConfirmationRequest>, channel: Channel) -> Confirm {
    Confirm::Send(SendRequest { request, channel })
}

impl SendRequest {
    /// The request to send.
    #[must_use]
    pub fn request(&self) -> &ConfirmationRequest {
        &self.request
    }

    /// Goes on after the send.
    pub fn answered(self, answer: Result<Accepted, SendFailure>, turn: &mut Turn) -> Confirm {
        let Self { request, channel } = self;
        match answer {
            Ok(Accepted { provider_id }) => {
                turn.count(Counted::ConfirmationSent { channel });
                // A number's opt-out is SNS's to remember: it refuses the next message.
                match provider_id.filter(|_| channel == Channel::Email) {
                    Some(provider_id) => Confirm::Name(NameMessage { request, provider_id }),
                    None => Confirm::End(Verdict::Delete),
                }
            }
            Err(SendFailure::Failed { failed, .. }) => {
                Confirm::Refuse(Refuse { request, channel, cause: failed.cause })
            }
            Err(SendFailure::Throttled) => {
                let pause = throttle_pause(turn.receives, THROTTLE_PAUSE_MAX, turn.jitter);
                Confirm::End(Verdict::Return { pause, code: "throttled" })
            }
            Err(SendFailure::QuotaExhausted) => {
                Confirm::End(Verdict::Fault { code: "provider_quota: the provider's quota is used up".to_owned() })
            }
            Err(SendFailure::Unavailable { code }) => {
                Confirm::End(Verdict::Fault { code: format!("provider_unavailable: {code}") })
            }
        }
    }
}

impl NameMessage {
    /// The request that was sent.
    #[must_use]
    pub fn request(&self) -> &ConfirmationRequest {
        &self.request
    }

    /// The provider's id of the message.
    #[must_use]
    pub fn provider_id(&self) -> &str {
        &self.provider_id
    }

    /// Ends the story.
    pub fn answered(self, (): (), _: &mut Turn) -> Confirm {
        Confirm::End(Verdict::Delete)
    }
}

impl Refuse {
    /// Goes on after the refusal was recorded.
    pub fn answered(self, answer: Answer<()>, turn: &mut Turn) -> Confirm {
        match answer {
            Ok(()) => {
                turn.count(Counted::ConfirmationRefused { channel: self.channel, cause: self.cause });
                Confirm::End(Verdict::Delete)
            }
            Err(fault) => Confirm::End(fault.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::turn::Fault;
    use contracts::queue::Lane;
    use domain::attempt::{AttemptFailure, RetryVerdict};
    use jiff::Timestamp;
    use serde_json::json;

    fn turn(receives: u32) -> Turn {
        Turn {
            now: Timestamp::UNIX_EPOCH,
            left: Duration::from_secs(7),
            receives,
            lane: Lane::Urgent,
            jitter: 0.5,
            token: "token".to_owned(),
            counted: Vec::new(),
        }
    }

    /// Returns what follows the send of a request on `channel`.
    fn sent(channel: Channel, answer: Result<Accepted, SendFailure>, turn: &mut Turn) -> Confirm {
        let target = match channel {
            Channel::Email => json!({"to": "email", "address": "a@example.com"}),
            _ => json!({"to": "sms", "phone": "+14155550100", "compliance": {}}),
        };
        let request = json!({"v": 1, "correlation_id": "c", "tenant": "acme", "tenant_name": "Acme",
            "recipient": "rcp_a", "identity": "i", "until": "2027-01-15T08:00:00Z", "target": target});
        let Confirm::Send(step) = begin(serde_json::from_value(request).unwrap(), channel) else { panic!("no send") };
        assert_eq!(step.request().identity, "i");
        step.answered(answer, turn)
    }

    #[test]
    fn an_accepted_email_is_named_for_its_later_bounce_and_a_text_message_is_not() {
        let accepted = || Ok(Accepted { provider_id: Some("m-1".to_owned()) });
        let turn = &mut turn(1);
        let Confirm::Name(step) = sent(Channel::Email, accepted(), turn) else { panic!("not named") };
        assert_eq!((step.provider_id(), step.request().identity.as_str()), ("m-1", "i"));
        assert!(matches!(step.answered((), turn), Confirm::End(Verdict::Delete)));
        assert!(matches!(sent(Channel::Sms, accepted(), turn), Confirm::End(Verdict::Delete)));
        let sent = [Channel::Email, Channel::Sms].map(|channel| Counted::ConfirmationSent { channel });
        assert_eq!(turn.counted, sent);
    }

    #[test]
    fn a_throttled_request_waits_twice_as_long_each_time_for_up_to_ten_minutes() {
        for (receives, seconds) in [(1, 5), (2, 10), (3, 20), (8, 600), (19, 600)] {
            let Confirm::End(verdict) = sent(Channel::Email, Err(SendFailure::Throttled), &mut turn(receives)) else {
                panic!("it goes on")
            };
            assert_eq!(verdict, Verdict::Return { pause: Duration::from_secs(seconds), code: "throttled" });
        }
    }

    #[test]
    fn a_fault_of_aws_is_no_refusal_and_a_refusal_is_recorded_before_the_request_ends() {
        for failure in [SendFailure::QuotaExhausted, SendFailure::unavailable("ses")] {
            let story = sent(Channel::Email, Err(failure), &mut turn(1));
            assert!(matches!(story, Confirm::End(Verdict::Fault { .. })), "{story:?}");
        }
        let turn = &mut turn(1);
        let failed = AttemptFailure {
            cause: "MessageRejected".to_owned(),
            retry_after: None,
            slow_down: false,
            verdict: RetryVerdict::Refused,
        };
        let refused = SendFailure::Failed { failed, status: None, response: String::new(), plain: false };
        let Confirm::Refuse(step) = sent(Channel::Sms, Err(refused), turn) else { panic!("not recorded") };
        assert_eq!((step.cause.as_str(), step.channel), ("MessageRejected", Channel::Sms));
        let fault = Fault::Unavailable { code: "dynamodb".to_owned() };
        assert!(matches!(step.clone().answered(Err(fault), turn), Confirm::End(Verdict::Fault { .. })));
        assert!(turn.counted.is_empty());
        assert!(matches!(step.answered(Ok(()), turn), Confirm::End(Verdict::Delete)));
        let cause = "MessageRejected".to_owned();
        assert_eq!(turn.counted, [Counted::ConfirmationRefused { channel: Channel::Sms, cause }]);
    }
}
