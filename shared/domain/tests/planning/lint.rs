//! The findings of the settings lint.

use super::*;

/// The code and the channel of every finding.
fn findings(settings: &Settings, to: &[Destination]) -> Vec<(String, Option<ChannelClass>)> {
    let findings = domain::lint::lint(settings, to, &POLICY, now());
    for finding in &findings {
        assert!(
            !finding.sentence.is_empty() && !finding.remedy.is_empty() && !finding.setting.contains('<'),
            "{finding:?}"
        );
    }
    findings.into_iter().map(|finding| (finding.code.to_owned(), finding.channel)).collect()
}

/// Settings in which only `category` is enabled, on these channels.
fn only(category: Category, channels: &[ChannelClass]) -> Settings {
    let mut settings = settings();
    for (other, chosen) in &mut settings.categories {
        chosen.enabled = *other == category;
        chosen.channels = channels.iter().copied().collect();
    }
    settings
}

#[test]
fn settings_that_reach_a_destination_have_no_findings() {
    let email = only(Infrastructure, &[ChannelClass::Email, ChannelClass::Sms]);
    assert_eq!(findings(&email, &[to(recipient("a", OrgAdmin))]), []);
    assert_eq!(findings(&email, &[to(recipient("a", OrgAdmin)), to(recipient("bb", TechDevops))]), []);
}

#[test]
fn categories_and_channels_that_reach_nobody_are_reported_with_a_remedy() {
    let code = |code: &str, channel| (code.to_owned(), channel);
    let enabled = only(Billing, &[ChannelClass::Email]);
    assert_eq!(findings(&enabled, &[]), [code("category_unreachable", None)]);
    let wrong = findings(&enabled, &[to(recipient("a", TechDevops))]);
    assert_eq!(wrong, [code("category_unreachable", None), code("destination_silent", None)]);

    let sms = only(Infrastructure, &[ChannelClass::Email, ChannelClass::Sms]);
    let unconfirmed = Recipient { phone_confirmed: false, ..recipient("a", OrgAdmin) };
    let channel = Some(ChannelClass::Sms);
    let both = [code("channel_unreachable", channel), code("contact_unconfirmed", channel)];
    assert_eq!(findings(&sms, &[to(unconfirmed)]), both);
    let starter = Settings { plan: "starter".into(), ..sms };
    assert_eq!(findings(&starter, &[to(recipient("a", OrgAdmin))]), [code("plan_excludes_channel", channel)]);

    let hook = only(Infrastructure, &[ChannelClass::Webhook]);
    let disabled = Integration {
        disabled: Some(Disablement { at: now(), cause: "http_410".into(), probe_at: None }),
        ..endpoint("h", Channel::Webhook, TechDevops)
    };
    let expected = [code("category_unreachable", None), code("endpoint_disabled", Some(ChannelClass::Webhook))];
    assert_eq!(findings(&hook, &[to_endpoint(disabled)]), expected);

    let mut off = settings();
    off.categories.values_mut().for_each(|chosen| chosen.enabled = false);
    let findings = domain::lint::lint(&off, &[], &POLICY, now());
    assert_eq!(findings.iter().map(|finding| finding.code).collect::<Vec<_>>(), ["nothing_is_on"]);
}

#[test]
fn a_filter_with_an_unknown_name_is_reported() {
    let mut recipient = recipient("p", OrgAdmin);
    recipient.filters.components = vec!["voice".into(), "vioce".into()];
    recipient.filters.regions = vec!["mars-1".into(), "ap-south-1".into()];
    let found = domain::lint::lint(&only(Infrastructure, &[ChannelClass::Email]), &[to(recipient)], &POLICY, now());
    let found: Vec<(&str, &str)> = found.iter().map(|finding| (finding.code, finding.setting.as_str())).collect();
    assert_eq!(
        found,
        [("unknown_component", "recipients.rcp_p.components"), ("unknown_region", "recipients.rcp_p.regions")]
    );
}

#[test]
fn quiet_hours_that_hold_too_much_are_reported() {
    let with = |from: &str, to: &str, critical_passes| {
        let hours = QuietHours { from: from.parse().unwrap(), to: to.parse().unwrap(), ..quiet_hours(critical_passes) };
        Settings { quiet_hours: Some(hours), ..only(Infrastructure, &[ChannelClass::Email]) }
    };
    let codes = |settings: &Settings, recipient: Recipient| -> Vec<&'static str> {
        let found = domain::lint::lint(settings, &[to(recipient)], &POLICY, now());
        found.iter().map(|finding| finding.code).collect()
    };
    let admin = || recipient("p", OrgAdmin);
    assert!(codes(&with("22:00", "07:00", true), admin()).is_empty());
    assert_eq!(codes(&with("07:00", "06:30", true), admin()), ["quiet_hours_all_day"]);
    assert_eq!(codes(&with("22:00", "07:00", false), admin()), ["quiet_hours_hold_critical"]);
    let own = Recipient { quiet_hours: Some(QuietHoursOverride::Hours(quiet_hours(false))), ..admin() };
    assert_eq!(codes(&with("22:00", "07:00", true), own.clone()), ["quiet_hours_hold_critical"]);
    let starter = Settings { plan: "starter".into(), quiet_hours: None, ..with("22:00", "07:00", true) };
    assert_eq!(codes(&starter, own), ["quiet_hours_not_in_plan"]);
}
