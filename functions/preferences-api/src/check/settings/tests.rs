use super::*;
use contracts::http::{DigestBody, QuietHoursBody};
use domain::vocabulary::Severity;

const TENANT: Editor<'_> = Editor { token_id: "tok_a", is_platform_admin: false, now: Timestamp::UNIX_EPOCH };
const PLATFORM: Editor<'_> = Editor { is_platform_admin: true, ..TENANT };

#[test]
fn a_compliance_confirmation_keeps_its_author_until_it_is_revoked() {
    let before = tenant("enterprise");
    let write = |before: &Settings, confirmed: Option<&[&str]>, who: &str| {
        let mut body = settings_body(before);
        body.compliance.confirmed = confirmed.map(|words| words.iter().map(|word| (*word).to_owned()).collect());
        update_settings(before, &body, &policy(), Editor { token_id: who, ..TENANT })
    };
    let first = write(&before, Some(&["sms"]), "tok_a").unwrap();
    assert_eq!(first.compliance_confirmed[&ChannelClass::Sms].by, "tok_a");
    assert!(first.compliance_confirmed[&ChannelClass::Sms].wording.contains("notification rules"));
    let second = write(&first, Some(&["email", "sms"]), "tok_b").unwrap();
    let by: Vec<&str> = second.compliance_confirmed.values().map(|confirmed| confirmed.by.as_str()).collect();
    assert_eq!(by, ["tok_b", "tok_a"], "an earlier confirmation keeps its author");
    assert_eq!(write(&second, None, "tok_c").unwrap(), second);
    assert!(write(&second, Some(&[]), "tok_c").unwrap().compliance_confirmed.is_empty());
    let wrong = write(&second, Some(&["chat"]), "tok_c").unwrap_err();
    assert_eq!(wrong[0].pointer, "/compliance/confirmed/0");
}

fn policy() -> Policy {
    Policy::embedded().unwrap()
}

fn tenant(plan: &str) -> Settings {
    let body = TenantBody { name: "Acme".into(), plan: plan.into(), zone: "Asia/Kolkata".into() };
    new_settings(&TenantId::parse("acme").unwrap(), &body, &policy()).unwrap()
}

fn pointers(errors: Vec<FieldError>) -> Vec<String> {
    errors.into_iter().map(|error| error.pointer).collect()
}

#[test]
fn a_new_tenant_has_all_categories_off_with_the_channels_of_matrix_and_plan() {
    let policy = policy();
    let top = policy.plans.largest().unwrap().id.clone();
    let settings = tenant(&top);
    for &category in Category::ALL {
        let chosen = &settings.categories[&category];
        assert!(!chosen.enabled);
        let plan = &policy.plans.largest().unwrap().channels;
        let preset: BTreeSet<_> = policy.matrix.channels_for(category).intersection(plan).copied().collect();
        assert_eq!(chosen.channels, preset, "{category}");
    }
    let smallest = tenant(policy.plans.ids()[0]);
    assert!(!smallest.categories[&Category::Infrastructure].channels.contains(&ChannelClass::Sms));
}

#[test]
fn settings_that_were_read_can_be_sent_back_and_change_nothing() {
    for plan in policy().plans.ids() {
        let settings = tenant(plan);
        assert_eq!(update_settings(&settings, &settings_body(&settings), &policy(), TENANT).unwrap(), settings);
    }
}

#[test]
fn every_wrong_field_is_reported_at_once() {
    let settings = tenant(policy().plans.ids()[0]);
    let mut body = settings_body(&settings);
    body.name = " \n ".into();
    body.zone = "Mars/Olympus".into();
    body.alert_window_seconds = 9;
    body.tenant = Some("globex".into());
    body.allowed_email_domains = vec!["example.com".into(), "@example.com".into(), "localhost".into()];
    body.compliance.country = Some("India".into());
    body.compliance.sender_id = Some("123".into());
    body.data_processing =
        Some(DataProcessingBody { channels: Some(vec!["fax".into()]), content: Some("some".into()) });
    body.public_name = Some("Pay at evil.example".into());
    body.approved = Some(ApprovedNamesBody { public_name: Some("x".repeat(61)), sender_id: Some("1".into()) });
    body.quiet_hours = Some(QuietHoursBody {
        from: "25:00".into(),
        to: "7".into(),
        days: vec!["someday".into()],
        zone: Some("Mars/Olympus".into()),
        critical_passes: true,
    });
    body.categories.remove("billing");
    body.categories.insert("a/b".into(), body.categories["infrastructure"].clone());
    body.categories.get_mut("configurable").unwrap().muted_until = Some("tomorrow".into());
    assert_eq!(
        pointers(update_settings(&settings, &body, &policy(), TENANT).unwrap_err()),
        [
            "/tenant",
            "/name",
            "/zone",
            "/alert_window_seconds",
            "/categories/a~1b",
            "/categories/billing",
            "/categories/configurable/muted_until",
            "/allowed_email_domains/1",
            "/allowed_email_domains/2",
            "/compliance/country",
            "/compliance/sender_id",
            "/data_processing/channels/0",
            "/data_processing/content",
            "/data_processing",
            "/public_name",
            "/approved/public_name",
            "/approved/sender_id",
            "/approved",
            "/quiet_hours/from",
            "/quiet_hours/to",
            "/quiet_hours/days/0",
            "/quiet_hours/zone",
        ]
    );
}

#[test]
fn a_tenant_gives_itself_neither_a_name_for_strangers_nor_another_agreement() {
    let settings = tenant("enterprise");
    let names = ApprovedNamesBody { public_name: Some("HSBC".into()), sender_id: Some("HSBC".into()) };
    let agreement = DataProcessingBody { channels: Some(vec!["email".into()]), content: Some("minimal".into()) };
    let wants = |change: fn(&mut SettingsBody, ApprovedNamesBody, DataProcessingBody), editor| {
        let mut body = settings_body(&settings);
        change(&mut body, names.clone(), agreement.clone());
        update_settings(&settings, &body, &policy(), editor)
    };
    let approve = |body: &mut SettingsBody, names, _| body.approved = Some(names);
    let agree = |body: &mut SettingsBody, _, agreement| body.data_processing = Some(agreement);
    assert_eq!(pointers(wants(approve, TENANT).unwrap_err()), ["/approved"]);
    assert_eq!(pointers(wants(agree, TENANT).unwrap_err()), ["/data_processing"]);
    assert_eq!(wants(agree, PLATFORM).unwrap().data_processing.content, ContentLevel::Minimal);

    // What the tenant asks for is saved, and used once it is approved.
    let mut body = settings_body(&settings);
    body.public_name = Some("Acme Alerts".into());
    body.compliance.sender_id = Some("ACME".into());
    let asked = update_settings(&settings, &body, &policy(), TENANT).unwrap();
    assert_eq!((asked.name_for_strangers(), asked.sms_compliance().sender_id), ("acme", None));
    let mut body = settings_body(&asked);
    body.approved = Some(ApprovedNamesBody { public_name: body.public_name.clone(), sender_id: Some("ACME".into()) });
    let approved = update_settings(&asked, &body, &policy(), PLATFORM).unwrap();
    assert_eq!(approved.name_for_strangers(), "Acme Alerts");
    assert_eq!(approved.sms_compliance().sender_id.as_deref(), Some("ACME"));
    // Another wish changes nothing until it is approved as well; no wish at all is neutral again.
    let mut body = settings_body(&approved);
    body.public_name = Some("HSBC".into());
    let changed = update_settings(&approved, &body, &policy(), TENANT).unwrap();
    assert_eq!(changed.name_for_strangers(), "Acme Alerts");
    body.public_name = None;
    assert_eq!(update_settings(&approved, &body, &policy(), TENANT).unwrap().name_for_strangers(), "acme");
}

#[test]
fn a_channel_outside_matrix_or_plan_is_refused_and_names_a_plan_that_includes_it() {
    let policy = policy();
    let smallest = policy.plans.ids()[0].to_owned();
    let settings = tenant(&smallest);
    let mut body = settings_body(&settings);
    body.categories.get_mut("infrastructure").unwrap().channels = vec!["email".into(), "sms".into()];
    body.categories.get_mut("billing").unwrap().channels = vec!["webhook".into()];
    let errors = update_settings(&settings, &body, &policy, TENANT).unwrap_err();
    assert_eq!(errors[0].pointer, "/categories/infrastructure/channels/1");
    let with_sms = &policy.plans.smallest_with_channel(ChannelClass::Sms).unwrap().id;
    assert!(
        errors[0].detail.contains(&smallest) && errors[0].detail.contains(with_sms.as_str()),
        "{}",
        errors[0].detail
    );
    assert_eq!(errors[1].pointer, "/categories/billing/channels/0");
    assert!(errors[1].detail.contains("is not available for billing"), "{}", errors[1].detail);
}

#[test]
fn a_smaller_plan_keeps_selected_channels_and_refuses_new_ones() {
    let policy = policy();
    let (smallest, top) = (policy.plans.ids()[0].to_owned(), policy.plans.largest().unwrap().id.clone());
    let large = tenant(&top);
    let body = TenantBody { name: "Acme".into(), plan: smallest, zone: "UTC".into() };
    let small = update_tenant(&large, &body, &policy).unwrap();
    assert_eq!(small.categories, large.categories);
    let mut same = settings_body(&small);
    same.zone = "Europe/Berlin".into();
    assert!(update_settings(&small, &same, &policy, TENANT).is_ok());
    same.categories.get_mut("infrastructure").unwrap().channels = vec!["email".into()];
    let without = update_settings(&small, &same, &policy, TENANT).unwrap();
    assert_eq!(pointers(update_settings(&without, &settings_body(&small), &policy, TENANT).unwrap_err()).len(), 3);
}

#[test]
fn quiet_hours_need_a_plan_that_includes_them_and_round_trip() {
    let policy = policy();
    let hours = |from: &str, to: &str| QuietHoursBody {
        from: from.into(),
        to: to.into(),
        days: vec!["monday".into()],
        zone: None,
        critical_passes: false,
    };
    let write = |before: &Settings, hours| {
        let body = SettingsBody { quiet_hours: Some(hours), ..settings_body(before) };
        update_settings(before, &body, &policy, TENANT)
    };
    let small = tenant(policy.plans.ids()[0]);
    assert_eq!(pointers(write(&small, hours("22:00", "07:00")).unwrap_err()), ["/quiet_hours"]);
    let large = tenant(&policy.plans.largest().unwrap().id);
    let saved = write(&large, hours("22:00", "07:00")).unwrap();
    assert_eq!(settings_body(&saved).quiet_hours, Some(hours("22:00", "07:00")));
    assert_eq!(pointers(write(&large, hours("22:00", "22:00")).unwrap_err()), ["/quiet_hours/to"]);
    assert_eq!(pointers(write(&large, hours("22:00:30", "07:00")).unwrap_err()), ["/quiet_hours/from"]);
    // A smaller plan keeps the quiet hours, and a body without them removes them.
    let smaller = Settings { plan: small.plan.clone(), ..saved.clone() };
    assert!(update_settings(&smaller, &settings_body(&smaller), &policy, TENANT).unwrap().quiet_hours.is_some());
    let none = SettingsBody { quiet_hours: None, ..settings_body(&saved) };
    assert_eq!(update_settings(&saved, &none, &policy, TENANT).unwrap().quiet_hours, None);
}

#[test]
fn only_a_platform_admin_changes_a_plan() {
    let policy = policy();
    let settings = tenant(policy.plans.ids()[0]);
    let mut body = settings_body(&settings);
    body.plan = Some(policy.plans.largest().unwrap().id.clone());
    assert_eq!(pointers(update_settings(&settings, &body, &policy, TENANT).unwrap_err()), ["/plan"]);
    assert_eq!(Some(update_settings(&settings, &body, &policy, PLATFORM).unwrap().plan), body.plan);
    body.plan = Some("galactic".into());
    let errors = update_settings(&settings, &body, &policy, PLATFORM).unwrap_err();
    assert!(errors[0].detail.contains(policy.plans.ids()[0]), "{}", errors[0].detail);
    body.plan = None;
    assert_eq!(update_settings(&settings, &body, &policy, TENANT).unwrap().plan, settings.plan);
}

#[test]
fn domains_and_country_codes_are_normalized() {
    let settings = tenant(policy().plans.ids()[0]);
    let mut body = settings_body(&settings);
    body.allowed_email_domains = vec![" Example.COM ".into(), "example.com".into()];
    body.compliance.country = Some("in".into());
    let updated = update_settings(&settings, &body, &policy(), TENANT).unwrap();
    assert_eq!(updated.allowed_email_domains, ["example.com"]);
    assert_eq!(updated.compliance.country.as_deref(), Some("IN"));
}

#[test]
fn a_footprint_names_the_catalogue_and_is_the_tenants_only_where_its_plan_says_so() {
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let write = |before: &Settings, components: &[&str], regions: &[&str], editor| {
        let footprint = Some(FootprintBody { components: names(components), regions: names(regions) });
        update_settings(before, &SettingsBody { footprint, ..settings_body(before) }, &policy(), editor)
    };
    let (small, large) = (tenant("starter"), tenant("enterprise"));
    let saved = write(&large, &["voice", "voice"], &["us-east-1"], TENANT).unwrap();
    assert_eq!(saved.footprint, Footprint { components: names(&["voice"]), regions: names(&["us-east-1"]) });
    let unchanged = SettingsBody { footprint: None, ..settings_body(&saved) };
    assert_eq!(update_settings(&saved, &unchanged, &policy(), TENANT).unwrap(), saved);
    let wrong = write(&large, &["voice", "vioce"], &["mars"], TENANT).unwrap_err();
    assert!(wrong[1].detail.contains("us-east-1"), "{}", wrong[1].detail);
    assert_eq!(pointers(wrong), ["/footprint/components/1", "/footprint/regions/0"]);
    assert_eq!(pointers(write(&small, &[], &["us-east-1"], TENANT).unwrap_err()), ["/footprint"]);
    assert!(write(&small, &[], &["us-east-1"], PLATFORM).is_ok());
    // A region that the catalogue no longer has can be kept, and does not keep other settings from being saved.
    let footprint = Footprint { regions: names(&["us-west-9"]), ..Footprint::default() };
    let outdated = Settings { footprint, ..large };
    assert!(update_settings(&outdated, &settings_body(&outdated), &policy(), TENANT).is_ok());
}

#[test]
fn minimum_severities_and_a_digest_are_checked_and_the_digest_needs_the_plan() {
    let digest = DigestBody { every: "hourly".into(), at: None, below: "error".into(), channels: vec!["email".into()] };
    let body = |before: &Settings| {
        let mut body = settings_body(before);
        body.min_severity = Some("warning".into());
        body.categories.get_mut("billing").unwrap().min_severity = Some("critical".into());
        body.digest = Some(digest.clone());
        body
    };
    let (small, large) = (tenant("starter"), tenant("enterprise"));
    let saved = update_settings(&large, &body(&large), &policy(), TENANT).unwrap();
    assert_eq!(saved.min_severity, Some(Severity::Warning));
    assert_eq!(saved.categories[&Category::Billing].min_severity, Some(Severity::Critical));
    assert_eq!(settings_body(&saved).digest, Some(digest.clone()));
    assert_eq!(update_settings(&saved, &settings_body(&saved), &policy(), TENANT).unwrap(), saved);
    assert_eq!(pointers(update_settings(&small, &body(&small), &policy(), TENANT).unwrap_err()), ["/digest"]);
    let mut wrong = body(&large);
    wrong.min_severity = Some("dire".into());
    wrong.categories.get_mut("billing").unwrap().min_severity = Some("dire".into());
    wrong.digest = Some(DigestBody { every: "yearly".into(), ..digest.clone() });
    let errors = update_settings(&large, &wrong, &policy(), TENANT).unwrap_err();
    assert_eq!(pointers(errors), ["/categories/billing/min_severity", "/min_severity", "/digest/every"]);
}
