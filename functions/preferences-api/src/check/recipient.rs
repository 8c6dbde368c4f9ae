//! A person who may be told.

use super::{Faults, digest_body, quiet_hours_body};
use contracts::http::{Private, RecipientBody, SuppressedBody};
use contracts::problem::FieldError;
use domain::ids::RecipientId;
use domain::quiet::OwnQuietHours;
use domain::tenant::{Email, OptIn, Phone, Recipient};
use jiff::Timestamp;

/// The one language that messages are written in.
const LANGUAGE: &str = "en";

const OPT_INS: &[(&str, OptIn)] = &[
    ("configurable_email", OptIn::ConfigurableEmail),
    ("warnings_email", OptIn::WarningsEmail),
    ("warnings_sms", OptIn::WarningsSms),
];

/// The recipient that `body` asks for. `vouches` is true where the caller is the platform itself, whose word that address
/// and number are right is taken; from anybody else `confirmed` changes nothing.
pub(crate) fn recipient(
    before: Option<&Recipient>,
    id: &RecipientId,
    body: &RecipientBody,
    vouches: bool,
) -> Result<Recipient, Vec<FieldError>> {
    let mut faults = Faults::default();
    faults.same("/id", body.id.as_deref(), id.as_str());
    let name = faults.title("/name", &body.name);
    let email = given(&mut faults, "/email", body.email.as_ref(), Email::parse);
    let phone = given(&mut faults, "/phone", body.phone.as_ref(), Phone::parse);
    if body.email.is_none() && body.phone.is_none() {
        faults.add("/email", "give an e-mail address, a phone number, or both");
    }
    let roles = faults.roles("/roles", &body.roles);
    let filters = faults.filters(&body.regions, &body.components, body.min_severity.as_deref());
    let words: Vec<&str> = OPT_INS.iter().map(|(word, _)| *word).collect();
    let parse = |text: &str| OPT_INS.iter().find(|(word, _)| *word == text).map(|(_, opt_in)| *opt_in);
    let opt_ins = faults.words("/opt_ins", &body.opt_ins, parse, &words);

    let zone = body.zone.clone().filter(|zone| !zone.is_empty());
    if let Some(zone) = &zone {
        faults.zone(zone);
    }

    if body.language.as_deref().is_some_and(|tag| tag != LANGUAGE) {
        faults.add("/language", "messages are written in English so far; write en, or leave it out");
    }
    let digest = faults.digest(body.digest.as_ref());
    let hours = faults.quiet_hours(body.quiet_hours.as_ref());
    if body.no_quiet_hours && body.quiet_hours.is_some() {
        faults.add("/no_quiet_hours", "contradicts the quiet hours beside it; leave one of them out");
    }
    let quiet_hours = if body.no_quiet_hours { Some(OwnQuietHours::Off) } else { hours.map(OwnQuietHours::Hours) };

    // Whoever reads the new address never confirmed anything, and never unsubscribed from anything.
    let same_mailbox = before.is_some_and(|before| identity(before.email.as_ref()) == identity(email.as_ref()));
    let same_phone = before.is_some_and(|before| before.phone == phone);
    let stated = body.confirmed.filter(|_| vouches);
    let kept = |same: bool, was: fn(&Recipient) -> bool| same && before.is_some_and(was);
    let email_confirmed = email.is_some() && stated.unwrap_or(kept(same_mailbox, |before| before.email_confirmed));
    let phone_confirmed = phone.is_some() && stated.unwrap_or(kept(same_phone, |before| before.phone_confirmed));
    let unsubscribed = before.filter(|_| same_mailbox).map(|before| before.unsubscribed.clone()).unwrap_or_default();
    faults.or(Recipient {
        id: id.clone(),
        name,
        email,
        email_confirmed,
        phone,
        phone_confirmed,
        roles,
        filters,
        opt_ins,
        unsubscribed,
        unsubscribed_warnings: kept(same_mailbox, |before| before.unsubscribed_warnings),
        dnd: body.dnd,
        sms_consent: body.sms_consent,
        zone,
        suppressed: before.filter(|_| same_mailbox).and_then(|before| before.suppressed),
        sms_opted_out: before.filter(|_| same_phone).and_then(|before| before.sms_opted_out),
        digest,
        quiet_hours,
        shared: body.shared,
        created_at: before.map_or(Timestamp::UNIX_EPOCH, |before| before.created_at),
        version: before.map_or(0, |before| before.version),
    })
}

fn given<T>(
    faults: &mut Faults,
    pointer: &str,
    text: Option<&Private>,
    parse: fn(&str) -> Result<T, &'static str>,
) -> Option<T> {
    match parse(text?.expose()) {
        Ok(value) => Some(value),
        Err(mend) => {
            faults.add(pointer, mend);
            None
        }
    }
}

fn identity(email: Option<&Email>) -> Option<String> {
    email.map(Email::identity)
}

/// A recipient as it is read and written.
pub(crate) fn body_of(recipient: &Recipient) -> RecipientBody {
    let opt_in = |known: &OptIn| OPT_INS.iter().find(|(_, opt_in)| opt_in == known).map(|(word, _)| (*word).to_owned());
    RecipientBody {
        id: Some(recipient.id.to_string()),
        name: recipient.name.clone(),
        email: recipient.email.as_ref().map(|email| Private::new(email.expose())),
        email_confirmed: Some(recipient.email_confirmed),
        phone: recipient.phone.as_ref().map(|phone| Private::new(phone.expose())),
        phone_confirmed: Some(recipient.phone_confirmed),
        confirmed: None,
        roles: recipient.roles.iter().map(|role| role.as_str().to_owned()).collect(),
        regions: recipient.filters.regions.clone(),
        components: recipient.filters.components.clone(),
        min_severity: recipient.filters.min_severity.map(|severity| severity.as_str().to_owned()),
        opt_ins: recipient.opt_ins.iter().filter_map(opt_in).collect(),
        unsubscribed: recipient.unsubscribed.iter().map(|category| category.as_str().to_owned()).collect(),
        unsubscribed_warnings: recipient.unsubscribed_warnings,
        dnd: recipient.dnd,
        sms_consent: recipient.sms_consent,
        zone: recipient.zone.clone(),
        quiet_hours: match &recipient.quiet_hours {
            Some(OwnQuietHours::Hours(hours)) => Some(quiet_hours_body(hours)),
            Some(OwnQuietHours::Off) | None => None,
        },
        language: Some(LANGUAGE.to_owned()),
        digest: recipient.digest.as_ref().map(digest_body),
        no_quiet_hours: recipient.quiet_hours == Some(OwnQuietHours::Off),
        shared: recipient.shared,
        suppressed: recipient
            .suppressed
            .map(|suppressed| SuppressedBody { reason: suppressed.reason.to_string(), at: suppressed.at }),
        sms_opted_out_at: recipient.sms_opted_out,
        confirmation: None,
        version: Some(recipient.version),
        lint: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::vocabulary::{Category, Role};

    fn id() -> RecipientId {
        RecipientId::new("a")
    }

    fn body() -> RecipientBody {
        RecipientBody {
            name: "Ops".into(),
            email: Some(Private::new("Ops@Example.com")),
            phone: Some(Private::new("+14155550100")),
            roles: vec!["org_admin".into(), "tech_devops".into()],
            regions: vec!["ap-south-1".into(), "ap-south-1".into()],
            min_severity: Some("error".into()),
            opt_ins: vec!["warnings_sms".into()],
            ..RecipientBody::default()
        }
    }

    fn saved(vouches: bool) -> Recipient {
        recipient(None, &id(), &RecipientBody { confirmed: Some(true), ..body() }, vouches).unwrap()
    }

    #[test]
    fn what_is_read_can_be_written_back_and_changes_nothing() {
        let saved = saved(true);
        assert_eq!(recipient(Some(&saved), &id(), &body_of(&saved), false).unwrap(), saved);
        assert_eq!(saved.filters.regions, ["ap-south-1"]);
        assert_eq!(saved.roles, [Role::OrgAdmin, Role::TechDevops].into());
    }

    #[test]
    fn only_the_platforms_word_confirms() {
        assert!(saved(true).email_confirmed && saved(true).phone_confirmed);
        assert!(!saved(false).email_confirmed && !saved(false).phone_confirmed);
        let without_phone = RecipientBody { phone: None, confirmed: Some(true), ..body() };
        assert!(!recipient(None, &id(), &without_phone, true).unwrap().phone_confirmed);
        let before = saved(true);
        let taken_back = RecipientBody { confirmed: Some(false), ..body() };
        assert!(recipient(Some(&before), &id(), &taken_back, false).unwrap().email_confirmed);
        assert!(!recipient(Some(&before), &id(), &taken_back, true).unwrap().email_confirmed);
    }

    #[test]
    fn another_address_is_not_confirmed_and_nobody_unsubscribed_it() {
        let mut before = saved(true);
        before.unsubscribed = [Category::Billing].into();
        before.unsubscribed_warnings = true;
        // The merged document of a PATCH carries the old `email_confirmed: true`, even when the platform sends it.
        for vouches in [false, true] {
            let other = RecipientBody { email: Some(Private::new("new@example.com")), ..body_of(&before) };
            let after = recipient(Some(&before), &id(), &other, vouches).unwrap();
            assert!(!after.email_confirmed && after.phone_confirmed);
            assert!(after.unsubscribed.is_empty() && !after.unsubscribed_warnings);
        }
        let spelled = RecipientBody { email: Some(Private::new("OPS@example.com")), ..body_of(&before) };
        let after = recipient(Some(&before), &id(), &spelled, false).unwrap();
        assert!(after.email_confirmed && after.unsubscribed_warnings, "another spelling is the same mailbox");
        let phone = RecipientBody { phone: Some(Private::new("+14155550101")), ..body_of(&before) };
        assert!(!recipient(Some(&before), &id(), &phone, false).unwrap().phone_confirmed);
    }

    #[test]
    fn an_admin_subscribes_nobody_again() {
        let mut before = saved(true);
        before.unsubscribed = [Category::Infrastructure].into();
        let again = RecipientBody { unsubscribed: Vec::new(), ..body_of(&before) };
        assert_eq!(recipient(Some(&before), &id(), &again, true).unwrap().unsubscribed, before.unsubscribed);
    }

    #[test]
    fn every_wrong_field_is_named_at_once_without_its_value() {
        let bad = RecipientBody {
            id: Some("rcp_other".into()),
            name: String::new(),
            email: Some(Private::new("not-an-address")),
            phone: Some(Private::new("555-0100")),
            roles: vec!["org_admin".into(), "boss".into()],
            components: vec![String::new()],
            min_severity: Some("dire".into()),
            opt_ins: vec!["everything".into()],
            ..RecipientBody::default()
        };
        let faults = recipient(None, &id(), &bad, false).unwrap_err();
        let pointers: Vec<&str> = faults.iter().map(|fault| fault.pointer.as_str()).collect();
        assert_eq!(
            pointers,
            ["/id", "/name", "/email", "/phone", "/roles/1", "/components/0", "/min_severity", "/opt_ins/0"]
        );
        assert!(faults.iter().all(|fault| !fault.detail.contains("not-an-address") && !fault.detail.contains("555-")));
        let nothing = RecipientBody { email: None, phone: None, roles: Vec::new(), ..body() };
        let pointers: Vec<String> =
            recipient(None, &id(), &nothing, false).unwrap_err().into_iter().map(|fault| fault.pointer).collect();
        assert_eq!(pointers, ["/email", "/roles"]);
    }

    #[test]
    fn hours_and_digests_are_read_as_they_were_written_and_each_wrong_word_is_named() {
        let with = |more: serde_json::Value| {
            let mut value = serde_json::to_value(body()).unwrap();
            value.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            recipient(None, &id(), &serde_json::from_value(value).unwrap(), false)
        };
        let hours = serde_json::json!({"from": "22:00", "to": "07:00", "days": ["friday"], "critical_passes": false});
        let digest = serde_json::json!({"every": "daily", "at": "08:00", "below": "critical", "channels": ["email"]});
        let saved = with(serde_json::json!({"quiet_hours": hours, "digest": digest, "language": "en"})).unwrap();
        let read = serde_json::to_value(body_of(&saved)).unwrap();
        assert_eq!((&read["quiet_hours"], &read["digest"]), (&hours, &digest));
        let none = with(serde_json::json!({"no_quiet_hours": true})).unwrap();
        assert!(body_of(&none).no_quiet_hours);
        let pointers = |more: serde_json::Value| -> Vec<String> {
            with(more).unwrap_err().into_iter().map(|fault| fault.pointer).collect()
        };
        assert_eq!(
            pointers(serde_json::json!({"language": "de", "digest": {"every": "weekly", "below": "dire"},
                "quiet_hours": hours, "no_quiet_hours": true})),
            ["/language", "/digest/every", "/digest/below", "/no_quiet_hours"]
        );
        assert_eq!(pointers(serde_json::json!({"digest": {"every": "daily"}})), ["/digest/at"]);
        let on = |channels: &[&str]| serde_json::json!({"digest": {"every": "hourly", "channels": channels}});
        assert_eq!(pointers(on(&[])), ["/digest/channels"]);
        assert_eq!(pointers(on(&["sms", "chat"])), ["/digest/channels/1"]);
        assert!(with(on(&["sms", "email"])).is_ok());
        assert_eq!(pointers(serde_json::json!({"digest": {"every": "hourly", "at": "08:00"}})), ["/digest/at"]);
    }
}
