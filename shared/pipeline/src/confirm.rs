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
