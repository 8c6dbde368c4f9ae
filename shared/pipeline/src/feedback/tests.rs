//! What a provider's report does next, answer by answer.

use super::*;
use crate::turn::Fault;
use contracts::queue::{Lane, VERSION};
use domain::contact::email_contact_key;
use domain::ids::IncidentId;
use domain::tenant::Email;
use jiff::Timestamp;
use serde_json::json;

fn turn(receives: u32) -> Turn {
    Turn {
        now: Timestamp::UNIX_EPOCH,
        left: Duration::from_secs(20),
        receives,
        lane: Lane::Urgent,
        jitter: 0.0,
        token: "run".to_owned(),
        counted: Vec::new(),
    }
}

fn acme() -> TenantId {
    TenantId::parse("acme").unwrap()
}

fn recipient() -> Recipient {
    let value = json!({"id": "rcp_01jdzq6h6m8vpr0pqdy0q4n5zt", "name": "Ada", "email": "ops@example.com",
        "email_confirmed": true, "phone": "+4915112345678", "phone_confirmed": true, "roles": ["org_admin"], "version": 1});
    serde_json::from_value(value).unwrap()
}

/// A delivery of an e-mail to `address` of the recipient.
fn message(row: &str, address: &str) -> ProviderMessage {
    let recipient = recipient();
    ProviderMessage {
        tenant: acme(),
        incident_id: IncidentId::parse("inc_01jdzq6h6m8vpr0pqdy0q4n5zt").unwrap(),
        row: row.to_owned(),
        destination: recipient.id.to_string(),
        update: 3,
        category: None,
        contact: Some(email_contact_key(&acme(), &Email::parse(address).unwrap())),
        suppression: Some(SuppressionId::of(&Email::parse(address).unwrap())),
    }
}

/// The queue message of the function's example event: SES reports a permanent bounce.
fn bounce() -> String {
    let event: serde_json::Value =
        serde_json::from_str(include_str!("../../../../functions/feedback/event.json")).unwrap();
    event["Records"][0]["body"].as_str().unwrap().to_owned()
}

fn reported(messages: Vec<ProviderMessage>, turn: &mut Turn) -> Feedback {
    let Feedback::Messages(step) = begin(&bounce(), turn) else { panic!("the deliveries are not read") };
    assert_eq!((step.channel(), step.message_id()), (Channel::Email, "0107018c-2a3b"));
    step.answered(Ok(messages.into_iter().map(SentMessage::Delivery).collect()), turn)
}

/// Tells the story on until the recipient is read. Returns the rows on which the report was recorded.
fn until_recipient(mut story: Feedback, turn: &mut Turn) -> (Vec<String>, ReadRecipient) {
    let mut rows = Vec::new();
    loop {
        story = match story {
            Feedback::Record(step) => {
                for (message, feedback) in step.reports() {
                    assert_eq!((feedback.kind, feedback.update, feedback.at), (FeedbackKind::Bounced, 3, turn.now));
                    rows.push(message.row.clone());
                }
                step.answered(rows.iter().map(|_| Ok(())).collect(), turn)
            }
            Feedback::Address(step) => {
                assert_eq!(step.address().reason, Reason::SuppressedBounce);
                step.answered(Ok(()), turn)
            }
            Feedback::Recipient(step) => return (rows, step),
            other => panic!("{other:?}"),
        };
    }
}

#[test]
fn a_bounce_is_recorded_on_every_row_and_then_suppresses_the_contact_behind_its_notice() {
    let turn = &mut turn(1);
    let story = reported(vec![message("a", "ops@example.com"), message("b", "ops@example.com")], turn);
    let (mut rows, step) = until_recipient(story, turn);
    rows.sort();
    assert_eq!(rows, ["a", "b"]);
    let Feedback::Notice(step) = step.answered(Ok(Some(recipient())), turn) else { panic!("no notice") };
    let notice = step.notice().clone();
    let Feedback::Suppress(suppress) = step.clone().answered(Ok(()), turn) else { panic!("no suppression") };
    assert_eq!(suppress.silenced().suppression.reason, Reason::SuppressedBounce);
    assert!(matches!(suppress.answered(Ok(()), turn), Feedback::End(Verdict::Delete)));
    assert!(matches!(turn.counted.last(), Some(Counted::ContactSuppressed { .. })));

    // A run that died after the notice sends it again under the same id.
    let (_, step) = until_recipient(reported(vec![message("a", "ops@example.com")], turn), turn);
    let Feedback::Notice(again) = step.answered(Ok(Some(recipient())), turn) else { panic!("no notice") };
    assert_eq!(again.notice().event_id, notice.event_id);
    // The next bounce in the same incident, after the owner allowed e-mail again, is another notice.
    let (_, step) = until_recipient(reported(vec![message("a", "ops@example.com")], turn), turn);
    let resubscribed = Recipient { version: 3, ..recipient() };
    let Feedback::Notice(next) = step.answered(Ok(Some(resubscribed)), turn) else { panic!("no notice") };
    let key = |notice: &IncidentReceived| match &notice.body {
        contracts::queue::MessageBody::Event(event) => event.dedup_key.clone(),
        _ => panic!("not an event"),
    };
    assert_ne!(next.notice().event_id, notice.event_id);
    assert_ne!(key(next.notice()), key(&notice), "and another incident");
    let fault = Fault::Unavailable { code: "down".to_owned() };
    assert!(matches!(again.answered(Err(fault), turn), Feedback::End(Verdict::Fault { .. })), "nothing is suppressed");
}

/// Whoever has the address by now, and whether or not anybody does: its owner is protected from every tenant.
#[test]
fn a_bounce_suppresses_the_address_for_the_whole_stack_before_anything_is_asked_about_the_recipient() {
    let turn = &mut turn(1);
    let Feedback::Record(step) = reported(vec![message("a", "old@example.com")], turn) else { panic!("no record") };
    let fault = || Err(Fault::Unavailable { code: "down".to_owned() });
    let story = step.clone().answered(vec![Ok(()), fault()], turn);
    assert!(matches!(story, Feedback::End(Verdict::Fault { .. })), "one of two rows");
    let Feedback::Address(step) = step.answered(vec![Ok(())], turn) else { panic!("the address is not suppressed") };
    assert_eq!(step.id(), &SuppressionId::of(&Email::parse("OLD@example.com").unwrap()));
    assert!(matches!(step.clone().answered(fault(), turn), Feedback::End(Verdict::Fault { .. })));
    assert!(matches!(step.answered(Ok(()), turn), Feedback::Recipient(_)));
}

#[test]
fn a_bounced_confirmation_suppresses_its_address_and_its_recipient() {
    let turn = &mut turn(1);
    let Feedback::Messages(step) = begin(&bounce(), turn) else { panic!("what was sent is not read") };
    let address = Email::parse("ops@example.com").unwrap();
    let sent = ConfirmationMessage {
        tenant: acme(),
        recipient: recipient().id,
        contact: email_contact_key(&acme(), &address),
        suppression: SuppressionId::of(&address),
    };
    let Feedback::Address(step) = step.answered(Ok(vec![SentMessage::Confirmation(sent)]), turn) else { panic!() };
    let Feedback::Recipient(step) = step.answered(Ok(()), turn) else { panic!("the recipient is not read") };
    let Feedback::Notice(step) = step.answered(Ok(Some(recipient())), turn) else { panic!("no notice") };
    assert!(matches!(step.answered(Ok(()), turn), Feedback::Suppress(_)));
}

#[test]
fn another_address_and_a_contact_that_is_silent_already_are_left_alone() {
    let turn = &mut turn(1);
    let (_, step) = until_recipient(reported(vec![message("a", "old@example.com")], turn), turn);
    let story = step.clone().answered(Ok(Some(recipient())), turn);
    assert!(matches!(story, Feedback::End(Verdict::Delete)), "the recipient has another address by now");
    assert!(matches!(step.answered(Ok(None), turn), Feedback::End(Verdict::Delete)), "the recipient is gone");
    let (_, step) = until_recipient(reported(vec![message("a", "ops@example.com")], turn), turn);
    let mut silent = recipient();
    silent.suppress(&Suppression { reason: Reason::SuppressedComplaint, at: Timestamp::UNIX_EPOCH });
    assert!(
        matches!(step.answered(Ok(Some(silent)), turn), Feedback::End(Verdict::Delete)),
        "the admins were notified before"
    );
}

#[test]
fn an_unknown_message_is_looked_up_again_and_then_ignored() {
    for receives in 1..LOOKUPS_MAX {
        let turn = &mut turn(receives);
        let story = reported(Vec::new(), turn);
        assert!(matches!(story, Feedback::End(Verdict::Return { pause: LOOKUP_PAUSE, .. })));
        assert!(turn.counted.is_empty());
    }
    let turn = &mut turn(LOOKUPS_MAX);
    assert!(matches!(reported(Vec::new(), turn), Feedback::End(Verdict::Delete)));
    assert_eq!(turn.counted, [Counted::FeedbackUnknown]);
}

#[test]
fn a_number_that_opted_out_is_suppressed_without_a_message() {
    let turn = &mut turn(1);
    let body = json!({"v": VERSION, "tenant": "acme", "recipient": recipient().id, "category": null,
        "incident_id": "inc_01jdzq6h6m8vpr0pqdy0q4n5zt",
        "contact": domain::contact::phone_contact_key(&acme(), recipient().phone.as_ref().unwrap())});
    let Feedback::Recipient(step) = begin(&body.to_string(), turn) else { panic!("the recipient is not read") };
    assert_eq!(turn.counted, [Counted::FeedbackReceived { kind: FeedbackKind::OptedOut }]);
    let Feedback::Notice(step) = step.answered(Ok(Some(recipient())), turn) else { panic!("no notice") };
    let Feedback::Suppress(step) = step.answered(Ok(()), turn) else { panic!("no suppression") };
    assert_eq!(step.silenced().suppression.reason, Reason::OptedOut);

    // A suppressed address that a sender met was counted when its own report came.
    let mut body = body;
    body["reason"] = json!("suppressed_bounce");
    let before = turn.counted.len();
    assert!(matches!(begin(&body.to_string(), turn), Feedback::Recipient(_)));
    assert_eq!(turn.counted.len(), before);
}

#[test]
fn a_delivered_message_suppresses_nobody_and_nothing_else_is_parked() {
    let turn = &mut turn(1);
    let line = r#"{"notification":{"messageId":"m"},"delivery":{"providerResponse":"ok"},"status":"SUCCESS"}"#;
    let Feedback::Messages(step) = begin(line, turn) else { panic!("the deliveries are not read") };
    assert_eq!((step.channel(), step.message_id()), (Channel::Sms, "m"));
    let sent = vec![SentMessage::Delivery(message("a", "ops@example.com"))];
    let Feedback::Record(step) = step.answered(Ok(sent), turn) else { panic!() };
    assert!(step.reports().all(|(_, feedback)| feedback.kind == FeedbackKind::Delivered));
    assert!(matches!(step.answered(vec![Ok(())], turn), Feedback::End(Verdict::Delete)));
    assert!(matches!(begin("{}", turn), Feedback::End(Verdict::Park { .. })));
}
