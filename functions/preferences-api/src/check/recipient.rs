//! Checks of a recipient: a person who can receive alerts.

use super::{FieldErrors, FilterFields, digest_body, min_severities_body, quiet_hours_body};
use contracts::http::scopes::PLATFORM_ADMIN;
use contracts::http::{ConsentRecordBody, Private, RecipientBody, SuppressedBody};
use contracts::problem::FieldError;
use domain::event::NAME_MAX;
use domain::ids::RecipientId;
use domain::policy::SmsLimits;
use domain::quiet::QuietHoursOverride;
use domain::tenant::{Email, OptIn, Phone, Recipient};
use jiff::Timestamp;
use runtime::http::Caller;

/// The only language that messages are written in so far.
const LANGUAGE: &str = "en";

/// The opt-ins with their names in the API.
const OPT_INS: &[(&str, OptIn)] = &[
    ("configurable_email", OptIn::ConfigurableEmail),
    ("warnings_email", OptIn::WarningsEmail),
    ("warnings_sms", OptIn::WarningsSms),
];

/// Whether the field `confirmed` of a body counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ConfirmedFlag {
    /// The caller is a platform admin, who may declare an address and a number confirmed.
    Trusted,
    /// The field changes nothing: only the recipient confirms.
    Ignored,
}

impl From<&Caller> for ConfirmedFlag {
    fn from(caller: &Caller) -> Self {
        if caller.has_scope(PLATFORM_ADMIN) { Self::Trusted } else { Self::Ignored }
    }
}

/// The remedy for a number that text messages do not go to.
fn number_refused(sms: &SmsLimits) -> String {
    let countries = sms.countries.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
    format!(
        "text messages don't go to this country or this type of number; write the number of a mobile phone in one of {countries}, or leave the phone out"
    )
}

/// Checks `body` and returns the recipient to save. `before` is the saved recipient; `None` for a new one. A number that was saved before is
/// accepted even if `sms` no longer allows it: its alerts are skipped with a reason.
pub(crate) fn check_recipient(
    sms: &SmsLimits,
    before: Option<&Recipient>,
    id: &RecipientId,
    body: &RecipientBody,
    confirmed_flag: ConfirmedFlag,
) -> Result<Recipient, Vec<FieldError>> {
    let mut errors = FieldErrors::default();
    errors.check_read_only_id("/id", body.id.as_deref(), id.as_str());
    let name = errors.parse_display_name("/name", &body.name);
    let email = parse_contact(&mut errors, "/email", body.email.as_ref(), Email::parse);
    let phone = parse_contact(&mut errors, "/phone", body.phone.as_ref(), Phone::parse);
    let same_phone = before.is_some_and(|before| before.phone == phone);
    let phone_facts = phone.as_ref().map(Phone::facts);
    if !same_phone && phone_facts.as_ref().is_some_and(|facts| !sms.allows(facts)) {
        errors.add("/phone", number_refused(sms));
    }
    if body.email.is_none() && body.phone.is_none() {
        errors.add("/email", "add an e-mail address, a phone number, or both");
    }
    let roles = errors.parse_roles("/roles", &body.roles);
    let filters = errors.parse_filters(FilterFields {
        regions: &body.regions,
        components: &body.components,
        min_severity: body.min_severity.as_deref(),
        min_severities: &body.min_severities,
    });
    let names: Vec<&str> = OPT_INS.iter().map(|(name, _)| *name).collect();
    let parse = |text: &str| OPT_INS.iter().find(|(name, _)| *name == text).map(|(_, opt_in)| *opt_in);
    let opt_ins = errors.parse_set("/opt_ins", &body.opt_ins, parse, &names);

    let user_id = body.user_id.as_deref().map(str::trim).filter(|user| !user.is_empty()).map(str::to_owned);
    if user_id.as_ref().is_some_and(|user| user.chars().count() > NAME_MAX || user.chars().any(char::is_control)) {
        errors.add("/user_id", format_args!("must have 1 to {NAME_MAX} characters on one line"));
    }

    let zone = body.zone.clone().filter(|zone| !zone.is_empty());
    if let Some(zone) = &zone {
        errors.check_zone(zone);
    }

    if body.language.as_deref().is_some_and(|tag| tag != LANGUAGE) {
        errors.add("/language", "messages are only available in English; send en, or leave this field out");
    }
    let digest = errors.parse_digest(body.digest.as_ref());
    if body.no_digest && body.digest.is_some() {
        errors.add("/no_digest", "contradicts digest; send only one of the two");
    }
    let hours = errors.parse_quiet_hours(body.quiet_hours.as_ref());
    if body.no_quiet_hours && body.quiet_hours.is_some() {
        errors.add("/no_quiet_hours", "contradicts quiet_hours; send only one of the two");
    }
    let quiet_hours =
        if body.no_quiet_hours { Some(QuietHoursOverride::Off) } else { hours.map(QuietHoursOverride::Hours) };

    // A new address or number starts over: its owner has neither confirmed it nor unsubscribed from anything.
    let same_mailbox =
        before.is_some_and(|before| email_identity(before.email.as_ref()) == email_identity(email.as_ref()));
    let declared = if confirmed_flag == ConfirmedFlag::Trusted { body.confirmed } else { None };
    let still_confirmed = |same: bool, flag: fn(&Recipient) -> bool| same && before.is_some_and(flag);
    let email_still_confirmed = still_confirmed(same_mailbox, |before| before.email_confirmed);
    let phone_still_confirmed = still_confirmed(same_phone, |before| before.phone_confirmed);
    let unsubscribed = before.filter(|_| same_mailbox).map(|before| before.unsubscribed.clone()).unwrap_or_default();
    errors.into_result(Recipient {
        id: id.clone(),
        name,
        email_confirmed: email.is_some() && declared.unwrap_or(email_still_confirmed),
        email,
        phone_confirmed: phone.is_some() && declared.unwrap_or(phone_still_confirmed),
        phone,
        phone_facts,
        roles,
        filters,
        user_id,
        opt_ins,
        unsubscribed,
        unsubscribed_warnings: same_mailbox && before.is_some_and(|before| before.unsubscribed_warnings),
        dnd: body.dnd,
        sms_consent: body.sms_consent,
        sms_consent_record: before.and_then(|before| before.sms_consent_record.clone()),
        zone,
        suppressed: before.filter(|_| same_mailbox).and_then(|before| before.suppressed),
        sms_opted_out: before.filter(|_| same_phone).and_then(|before| before.sms_opted_out),
        digest,
        no_digest: body.no_digest,
        quiet_hours,
        shared: body.shared,
        created_at: before.map_or(Timestamp::UNIX_EPOCH, |before| before.created_at),
        version: before.map_or(0, |before| before.version),
    })
}

/// Parses an address or number; notes an error if it is not valid.
fn parse_contact<T>(
    errors: &mut FieldErrors,
    pointer: &str,
    text: Option<&Private>,
    parse: fn(&str) -> Result<T, &'static str>,
) -> Option<T> {
    match parse(text?.expose()) {
        Ok(value) => Some(value),
        Err(remedy) => {
            errors.add(pointer, remedy);
            None
        }
    }
}

fn email_identity(email: Option<&Email>) -> Option<String> {
    email.map(Email::identity)
}

/// Returns a recipient as the API shows it. The same body can be sent back and changes nothing.
pub(crate) fn recipient_body(recipient: &Recipient) -> RecipientBody {
    let opt_in = |known: &OptIn| OPT_INS.iter().find(|(_, opt_in)| opt_in == known).map(|(name, _)| (*name).to_owned());
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
        min_severities: min_severities_body(&recipient.filters),
        user_id: recipient.user_id.clone(),
        opt_ins: recipient.opt_ins.iter().filter_map(opt_in).collect(),
        unsubscribed: recipient.unsubscribed.iter().map(|category| category.as_str().to_owned()).collect(),
        unsubscribed_warnings: recipient.unsubscribed_warnings,
        dnd: recipient.dnd,
        sms_consent: recipient.sms_consent,
        sms_consent_record: recipient
            .sms_consent_record
            .as_ref()
            .map(|record| ConsentRecordBody { by: record.by.clone(), at: record.at }),
        zone: recipient.zone.clone(),
        quiet_hours: match &recipient.quiet_hours {
            Some(QuietHoursOverride::Hours(hours)) => Some(quiet_hours_body(hours)),
            Some(QuietHoursOverride::Off) | None => None,
        },
        language: Some(LANGUAGE.to_owned()),
        digest: recipient.digest.as_ref().map(digest_body),
        no_digest: recipient.no_digest,
        no_quiet_hours: recipient.quiet_hours == Some(QuietHoursOverride::Off),
        shared: recipient.shared,
        suppressed: recipient.suppressed.map(|suppressed| SuppressedBody {
            reason: suppressed.reason.to_string(),
            at: suppressed.at,
            id: None,
        }),
        sms_opted_out_at: recipient.sms_opted_out,
        confirmation: None,
        version: Some(recipient.version),
        lint: None,
    }
}

#[cfg(test)]
mod tests {
    use super::ConfirmedFlag::{Ignored, Trusted};
    use super::*;
    use domain::vocabulary::{Category, Role};

    fn sms() -> SmsLimits {
        domain::policy::Policy::embedded().unwrap().limits.sms
    }

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

    fn saved(flag: ConfirmedFlag) -> Recipient {
        check_recipient(&sms(), None, &id(), &RecipientBody { confirmed: Some(true), ..body() }, flag).unwrap()
    }

    #[test]
    fn a_body_that_was_read_can_be_sent_back_and_changes_nothing() {
        let saved = saved(Trusted);
        assert_eq!(check_recipient(&sms(), Some(&saved), &id(), &recipient_body(&saved), Ignored).unwrap(), saved);
        assert_eq!(saved.filters.regions, ["ap-south-1"]);
        assert_eq!(saved.roles, [Role::OrgAdmin, Role::TechDevops].into());
    }

    #[test]
    fn only_a_platform_admin_confirms_by_a_field() {
        assert!(saved(Trusted).email_confirmed && saved(Trusted).phone_confirmed);
        assert!(!saved(Ignored).email_confirmed && !saved(Ignored).phone_confirmed);
        let without_phone = RecipientBody { phone: None, confirmed: Some(true), ..body() };
        assert!(!check_recipient(&sms(), None, &id(), &without_phone, Trusted).unwrap().phone_confirmed);
        let before = saved(Trusted);
        let revoked = RecipientBody { confirmed: Some(false), ..body() };
        assert!(check_recipient(&sms(), Some(&before), &id(), &revoked, Ignored).unwrap().email_confirmed);
        assert!(!check_recipient(&sms(), Some(&before), &id(), &revoked, Trusted).unwrap().email_confirmed);
    }

    #[test]
    fn a_new_address_is_neither_confirmed_nor_unsubscribed() {
        let mut before = saved(Trusted);
        before.unsubscribed = [Category::Billing].into();
        before.unsubscribed_warnings = true;
        // The merged document of a PATCH carries the old `email_confirmed: true`, even when the platform sends it.
        for flag in [Ignored, Trusted] {
            let other = RecipientBody { email: Some(Private::new("new@example.com")), ..recipient_body(&before) };
            let after = check_recipient(&sms(), Some(&before), &id(), &other, flag).unwrap();
            assert!(!after.email_confirmed && after.phone_confirmed);
            assert!(after.unsubscribed.is_empty() && !after.unsubscribed_warnings);
        }
        let spelled = RecipientBody { email: Some(Private::new("OPS@example.com")), ..recipient_body(&before) };
        let after = check_recipient(&sms(), Some(&before), &id(), &spelled, Ignored).unwrap();
        assert!(after.email_confirmed && after.unsubscribed_warnings, "another spelling is the same mailbox");
        let phone = RecipientBody { phone: Some(Private::new("+14155550101")), ..recipient_body(&before) };
        assert!(!check_recipient(&sms(), Some(&before), &id(), &phone, Ignored).unwrap().phone_confirmed);
    }

    #[test]
    fn a_number_where_no_text_message_goes_is_refused_and_a_saved_one_is_kept() {
        for number in ["+19005550100", "+18765550100", "+881612345678", "+442071838750", "+5352345678"] {
            let other = RecipientBody { phone: Some(Private::new(number)), ..body() };
            let errors = check_recipient(&sms(), None, &id(), &other, Trusted).unwrap_err();
            assert!(errors.len() == 1 && errors[0].pointer == "/phone", "{number}: {errors:?}");
            assert!(!errors[0].detail.contains(number), "{errors:?}");
        }
        let nowhere = SmsLimits { countries: ["SG".to_owned()].into(), ..sms() };
        let before = saved(Trusted);
        let kept = check_recipient(&nowhere, Some(&before), &id(), &recipient_body(&before), Ignored).unwrap();
        assert_eq!(kept, before, "a policy that is narrowed makes no recipient uneditable");
    }

    #[test]
    fn an_admin_cannot_resubscribe_a_recipient() {
        let mut before = saved(Trusted);
        before.unsubscribed = [Category::Infrastructure].into();
        let again = RecipientBody { unsubscribed: Vec::new(), ..recipient_body(&before) };
        assert_eq!(
            check_recipient(&sms(), Some(&before), &id(), &again, Trusted).unwrap().unsubscribed,
            before.unsubscribed
        );
    }

    #[test]
    fn every_wrong_field_is_reported_at_once_without_its_value() {
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
        let errors = check_recipient(&sms(), None, &id(), &bad, Ignored).unwrap_err();
        let pointers: Vec<&str> = errors.iter().map(|error| error.pointer.as_str()).collect();
        assert_eq!(
            pointers,
            ["/id", "/name", "/email", "/phone", "/roles/1", "/components/0", "/min_severity", "/opt_ins/0"]
        );
        assert!(errors.iter().all(|error| !error.detail.contains("not-an-address") && !error.detail.contains("555-")));
        let nothing = RecipientBody { email: None, phone: None, roles: Vec::new(), ..body() };
        let pointers: Vec<String> = check_recipient(&sms(), None, &id(), &nothing, Ignored)
            .unwrap_err()
            .into_iter()
            .map(|error| error.pointer)
            .collect();
        assert_eq!(pointers, ["/email", "/roles"]);
    }

    #[test]
    fn quiet_hours_and_digests_round_trip_and_each_wrong_field_is_reported() {
        let with = |more: serde_json::Value| {
            let mut value = serde_json::to_value(body()).unwrap();
            value.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            check_recipient(&sms(), None, &id(), &serde_json::from_value(value).unwrap(), Ignored)
        };
        let hours = serde_json::json!({"from": "22:00", "to": "07:00", "days": ["friday"], "critical_passes": false});
        let digest = serde_json::json!({"every": "daily", "at": "08:00", "below": "critical", "channels": ["email"]});
        let saved = with(serde_json::json!({"quiet_hours": hours, "digest": digest, "language": "en"})).unwrap();
        let read = serde_json::to_value(recipient_body(&saved)).unwrap();
        assert_eq!((&read["quiet_hours"], &read["digest"]), (&hours, &digest));
        let none = with(serde_json::json!({"no_quiet_hours": true})).unwrap();
        assert!(recipient_body(&none).no_quiet_hours);
        let pointers = |more: serde_json::Value| -> Vec<String> {
            with(more).unwrap_err().into_iter().map(|error| error.pointer).collect()
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
