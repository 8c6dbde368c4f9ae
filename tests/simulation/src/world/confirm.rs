//! The effects of confirmation requests.

use super::contacts::contact_of;
use super::{Fate, Invocation, World};
use contracts::queue::{ConfirmationRequest, DeliveryTarget, Question};
use domain::contact::email_contact_key;
use domain::delivery::{ConfirmationMessage, SentMessage};
use domain::ids::SuppressionId;
use domain::reason::Reason;
use domain::vocabulary::Channel;
use pipeline::confirm::Confirm;
use pipeline::{Accepted, SendFailure};

impl World {
    pub(super) fn perform_confirm(&mut self, story: Confirm, invocation: &mut Invocation, fate: Fate) -> Confirm {
        match story {
            Confirm::Send(step) => {
                let request = step.request().clone();
                let answer = match fate {
                    Fate::Fails => Err(SendFailure::unavailable("table")),
                    _ => self.send_question(&request, invocation, fate),
                };
                step.answered(answer, &mut invocation.turn)
            }
            Confirm::Name(step) => {
                let ConfirmationRequest { tenant, recipient, target, .. } = step.request();
                if let (DeliveryTarget::Email { address, .. }, true) = (target, fate != Fate::Fails) {
                    let message = SentMessage::Confirmation(ConfirmationMessage {
                        tenant: tenant.clone(),
                        recipient: recipient.clone(),
                        contact: email_contact_key(tenant, address),
                        suppression: SuppressionId::of(address),
                    });
                    self.table.name_message(Channel::Email, step.provider_id(), message, self.now);
                }
                step.answered((), &mut invocation.turn)
            }
            Confirm::Refuse(step) => {
                if fate != Fate::Fails {
                    let ConfirmationRequest { tenant, recipient, identity, correlation_id, .. } = &*step.request;
                    let place = (tenant.clone(), recipient.clone(), step.channel);
                    self.table.refuse_request(&place, identity, &step.cause);
                    if let Some(question) = self.log.questions.get_mut(correlation_id) {
                        question.refused = true;
                    }
                }
                step.answered(fate.answer(()), &mut invocation.turn)
            }
            Confirm::End(_) => story,
        }
    }

    /// What the sender does with a question: nothing is sent to a suppressed address but the question whether mail is welcome again.
    fn send_question(
        &mut self,
        request: &ConfirmationRequest,
        invocation: &mut Invocation,
        fate: Fate,
    ) -> Result<Accepted, SendFailure> {
        let Some(contact) = contact_of(&request.target) else { return Err(SendFailure::permanent("no_contact")) };
        let mut channel = Channel::Sms;
        if let DeliveryTarget::Email { address, .. } = &request.target {
            channel = Channel::Email;
            let suppression = self.table.address_suppression(address);
            if let Some(found) = suppression.filter(|_| request.question != Question::AllowAgain) {
                return Err(SendFailure::permanent(found.reason.as_str()));
            }
        }
        if self.outside.refuses(channel, &contact) {
            return Err(SendFailure::permanent(Reason::OptedOut.as_str()));
        }
        let troubled = !self.calm();
        match self.random.between(0, 16) {
            0..=2 if troubled => return Err(SendFailure::Throttled),
            3 if troubled => return Err(SendFailure::QuotaExhausted),
            4 if troubled => return Err(SendFailure::unavailable("keyring")),
            5 if troubled => return Err(SendFailure::permanent("MessageRejected")),
            _ => {}
        }
        if request.question != Question::AllowAgain {
            self.check_silence(channel, &contact, "a question");
        }
        let id = format!("q-{}", self.random.number());
        if let Some(question) = self.log.questions.get_mut(&request.correlation_id) {
            question.arrivals += 1;
        }
        self.report_later(channel, &contact, &id);
        self.answer_later(request, channel);
        invocation.question = Some(request.correlation_id.clone());
        if fate == Fate::AnswerLost {
            return Err(SendFailure::unavailable("ses"));
        }
        Ok(Accepted { provider_id: Some(id) })
    }

    /// A question that was accepted is sent once more if nobody learned of it: it has no row that would say so.
    pub(super) fn excuse_question(&mut self, invocation: &Invocation) {
        let question = invocation.question.as_ref().and_then(|id| self.log.questions.get_mut(id));
        if let Some(question) = question {
            question.excused += 1;
        }
    }
}
