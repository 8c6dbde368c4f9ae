//! A tenant's settings.

use super::Faults;
use contracts::http::{CategoryBody, ComplianceBody, DataProcessingBody, SettingsBody, TenantBody};
use contracts::problem::FieldError;
use domain::ids::TenantId;
use domain::policy::Policy;
use domain::tenant::{CategorySettings, Content, DataProcessing, Email, Settings, SmsCompliance};
use domain::vocabulary::{Category, ChannelClass};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use std::collections::{BTreeMap, BTreeSet};

/// Most entries of the list of allowed domains.
const DOMAINS_MAX: usize = 50;

/// A new tenant: categories off, ticks preset to the matrix as far as the plan goes.
pub(crate) fn create(tenant: &TenantId, body: &TenantBody, policy: &Policy) -> Result<Settings, Vec<FieldError>> {
    let mut faults = Faults::default();
    let (name, plan, zone) = basics(&mut faults, body, policy);
    let of_plan = policy.plans.get(&plan).map(|plan| plan.channels.clone()).unwrap_or_default();
    let preset = |category: Category| {
        let channels = policy.matrix.classes(category).intersection(&of_plan).copied().collect();
        (category, CategorySettings { enabled: false, channels, muted_until: None })
    };
    faults.or(Settings {
        tenant: tenant.clone(),
        name,
        plan,
        zone,
        alert_window_seconds: 60,
        categories: Category::ALL.iter().copied().map(preset).collect(),
        allowed_email_domains: Vec::new(),
        compliance: SmsCompliance::default(),
        data_processing: DataProcessing::default(),
        version: 1,
    })
}

/// An existing tenant with another name, plan or zone. Ticks stay as they are: what a smaller plan leaves out is skipped
/// with its reason, and is back with the larger one.
pub(crate) fn rename(before: &Settings, body: &TenantBody, policy: &Policy) -> Result<Settings, Vec<FieldError>> {
    let mut faults = Faults::default();
    let (name, plan, zone) = basics(&mut faults, body, policy);
    faults.or(Settings { name, plan, zone, ..before.clone() })
}

fn basics(faults: &mut Faults, body: &TenantBody, policy: &Policy) -> (String, String, String) {
    let name = faults.title("/name", &body.name);
    known_plan(faults, &body.plan, policy);
    zone(faults, &body.zone);
    (name, body.plan.clone(), body.zone.clone())
}

fn known_plan(faults: &mut Faults, plan: &str, policy: &Policy) {
    if policy.plans.get(plan).is_none() {
        faults.add("/plan", format_args!("is not one of {}", policy.plans.names().join(", ")));
    }
}

fn zone(faults: &mut Faults, zone: &str) {
    if TimeZone::get(zone).is_err() {
        faults.add("/zone", "is not an IANA time zone; write for example Asia/Kolkata, Europe/Berlin or UTC");
    }
}

/// The settings that `body` asks for. `may_change_plan` is the platform's own right: a tenant does not upgrade itself.
pub(crate) fn update(
    before: &Settings,
    body: &SettingsBody,
    policy: &Policy,
    may_change_plan: bool,
) -> Result<Settings, Vec<FieldError>> {
    let mut faults = Faults::default();
    faults.same("/tenant", body.tenant.as_deref(), before.tenant.as_str());
    let name = faults.title("/name", &body.name);
    let plan = body.plan.clone().unwrap_or_else(|| before.plan.clone());
    if plan != before.plan {
        if may_change_plan {
            known_plan(&mut faults, &plan, policy);
        } else {
            faults.add("/plan", "only the platform changes a tenant's plan (a token with the scope platform:admin)");
        }
    }
    zone(&mut faults, &body.zone);
    if !(10..=86_400).contains(&body.alert_window_seconds) {
        faults.add("/alert_window_seconds", "must be from 10 to 86400");
    }
    let categories = categories(&mut faults, before, &plan, &body.categories, policy);
    let allowed_email_domains = domains(&mut faults, &body.allowed_email_domains);
    let compliance = compliance(&mut faults, &body.compliance);
    let data_processing = data_processing(&mut faults, &body.data_processing);
    faults.or(Settings {
        tenant: before.tenant.clone(),
        name,
        plan,
        zone: body.zone.clone(),
        alert_window_seconds: u32::try_from(body.alert_window_seconds).unwrap_or(60),
        categories,
        allowed_email_domains,
        compliance,
        data_processing,
        version: before.version,
    })
}

fn categories(
    faults: &mut Faults,
    before: &Settings,
    plan: &str,
    given: &BTreeMap<String, CategoryBody>,
    policy: &Policy,
) -> BTreeMap<Category, CategorySettings> {
    let all = Category::ALL.iter().map(|category| category.as_str()).collect::<Vec<_>>().join(", ");
    for name in given.keys().filter(|name| Category::parse(name).is_none()) {
        faults.add(format!("/categories/{}", pointer_part(name)), format_args!("is not one of {all}"));
    }
    let mut categories = BTreeMap::new();
    for &category in Category::ALL {
        let pointer = format!("/categories/{category}");
        let Some(body) = given.get(category.as_str()) else {
            faults.add(pointer, format_args!("is missing; write all of {all}, or use PATCH"));
            continue;
        };
        let known = before.categories.get(&category).map(|known| known.channels.clone()).unwrap_or_default();
        ticks(faults, &pointer, category, &body.channels, &known, plan, policy);
        let channels = faults.classes(&format!("{pointer}/channels"), &body.channels);
        let muted_until = body.muted_until.as_deref().and_then(|text| {
            let until = text.parse::<Timestamp>().ok();
            if until.is_none() {
                faults.add(format!("{pointer}/muted_until"), "is not a time as RFC 3339, such as 2026-11-30T18:00:00Z");
            }
            until
        });
        categories.insert(category, CategorySettings { enabled: body.enabled, channels, muted_until });
    }
    categories
}

/// A tick must be within the matrix and the plan. One that was there before stays: a smaller plan takes no setting away.
fn ticks(
    faults: &mut Faults,
    pointer: &str,
    category: Category,
    given: &[String],
    known: &BTreeSet<ChannelClass>,
    plan: &str,
    policy: &Policy,
) {
    let ceiling = policy.matrix.classes(category);
    for (index, class) in given.iter().enumerate().filter_map(|(index, text)| Some((index, ChannelClass::parse(text)?)))
    {
        let pointer = format!("{pointer}/channels/{index}");
        if !ceiling.contains(&class) {
            let possible = ceiling.iter().map(|class| class.as_str()).collect::<Vec<_>>().join(", ");
            faults.add(pointer, format_args!("nobody gets {category} alerts on this channel; possible are {possible}"));
        } else if !known.contains(&class) && !policy.plans.get(plan).is_some_and(|plan| plan.channels.contains(&class))
        {
            match policy.plans.first_with(class) {
                Some(larger) => faults.add(
                    pointer,
                    format_args!("the plan {plan} does not include {class}; the plan {} does", larger.id),
                ),
                None => faults.add(pointer, format_args!("no plan includes {class}")),
            }
        }
    }
}

/// A member's name as part of a JSON pointer (RFC 6901).
fn pointer_part(name: &str) -> String {
    name.chars().take(64).collect::<String>().replace('~', "~0").replace('/', "~1")
}

fn domains(faults: &mut Faults, given: &[String]) -> Vec<String> {
    if given.len() > DOMAINS_MAX {
        faults.add("/allowed_email_domains", format_args!("has more than {DOMAINS_MAX} entries"));
    }
    let mut domains: Vec<String> = Vec::new();
    for (index, text) in given.iter().enumerate() {
        let domain = text.trim().to_ascii_lowercase();
        if domain.contains('@') || !domain.contains('.') || Email::parse(&format!("a@{domain}")).is_err() {
            faults.add(format!("/allowed_email_domains/{index}"), "write the domain only, such as example.com");
        } else if !domains.contains(&domain) {
            domains.push(domain);
        }
    }
    domains
}

fn compliance(faults: &mut Faults, given: &ComplianceBody) -> SmsCompliance {
    let country = given.country.as_deref().map(|text| text.trim().to_ascii_uppercase());
    if country.as_deref().is_some_and(|code| code.len() != 2 || !code.bytes().all(|byte| byte.is_ascii_uppercase())) {
        faults.add("/compliance/country", "is not a country's two letters of ISO 3166, such as IN");
    }
    let mut registered = |name: &str, value: &Option<String>| {
        let value = value.as_deref().map(|text| text.trim().to_owned());
        let fits = |text: &String| (1..=50).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
        if value.as_ref().is_some_and(|text| !fits(text)) {
            faults.add(format!("/compliance/{name}"), "must have 1 to 50 letters or digits, as registered with DLT");
        }
        value
    };
    let dlt_entity_id = registered("dlt_entity_id", &given.dlt_entity_id);
    let dlt_template_id = registered("dlt_template_id", &given.dlt_template_id);
    let sender_id = given.sender_id.as_deref().map(|text| text.trim().to_owned());
    let fits = |text: &String| {
        (3..=11).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
            && text.bytes().any(|byte| byte.is_ascii_alphabetic())
    };
    if sender_id.as_ref().is_some_and(|text| !fits(text)) {
        faults.add("/compliance/sender_id", "must have 3 to 11 letters and digits, at least one letter");
    }
    SmsCompliance { country, dlt_entity_id, dlt_template_id, sender_id }
}

fn data_processing(faults: &mut Faults, given: &DataProcessingBody) -> DataProcessing {
    let channels = given.channels.as_ref().map(|given| faults.classes("/data_processing/channels", given));
    let content = match given.content.as_deref() {
        None | Some("full") => Content::Full,
        Some("minimal") => Content::Minimal,
        Some(_) => {
            faults.add("/data_processing/content", "is not one of full, minimal");
            Content::Full
        }
    };
    DataProcessing { channels, content }
}

/// The settings as they are read and written.
pub(crate) fn body_of(settings: &Settings) -> SettingsBody {
    let words = |classes: &BTreeSet<ChannelClass>| classes.iter().map(|class| class.as_str().to_owned()).collect();
    let category = |(category, chosen): (&Category, &CategorySettings)| {
        let body = CategoryBody {
            enabled: chosen.enabled,
            channels: words(&chosen.channels),
            muted_until: chosen.muted_until.map(|until| until.to_string()),
        };
        (category.to_string(), body)
    };
    let content = match settings.data_processing.content {
        Content::Full => "full",
        Content::Minimal => "minimal",
    };
    SettingsBody {
        tenant: Some(settings.tenant.to_string()),
        name: settings.name.clone(),
        plan: Some(settings.plan.clone()),
        zone: settings.zone.clone(),
        alert_window_seconds: u64::from(settings.alert_window_seconds),
        categories: settings.categories.iter().map(category).collect(),
        allowed_email_domains: settings.allowed_email_domains.clone(),
        compliance: ComplianceBody {
            country: settings.compliance.country.clone(),
            dlt_entity_id: settings.compliance.dlt_entity_id.clone(),
            dlt_template_id: settings.compliance.dlt_template_id.clone(),
            sender_id: settings.compliance.sender_id.clone(),
        },
        data_processing: DataProcessingBody {
            channels: settings.data_processing.channels.as_ref().map(words),
            content: Some(content.to_owned()),
        },
        version: Some(settings.version),
        lint: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy() -> Policy {
        Policy::embedded().unwrap()
    }

    fn tenant(plan: &str) -> Settings {
        let body = TenantBody { name: "Acme".into(), plan: plan.into(), zone: "Asia/Kolkata".into() };
        create(&TenantId::parse("acme").unwrap(), &body, &policy()).unwrap()
    }

    fn pointers(faults: Vec<FieldError>) -> Vec<String> {
        faults.into_iter().map(|fault| fault.pointer).collect()
    }

    #[test]
    fn a_new_tenant_is_off_and_ticked_to_the_matrix_as_far_as_its_plan_goes() {
        let policy = policy();
        let top = policy.plans.top().unwrap().id.clone();
        let settings = tenant(&top);
        for &category in Category::ALL {
            let chosen = &settings.categories[&category];
            assert!(!chosen.enabled);
            let plan = &policy.plans.top().unwrap().channels;
            let preset: BTreeSet<_> = policy.matrix.classes(category).intersection(plan).copied().collect();
            assert_eq!(chosen.channels, preset, "{category}");
        }
        let smallest = tenant(policy.plans.names()[0]);
        assert!(!smallest.categories[&Category::Infrastructure].channels.contains(&ChannelClass::Sms));
    }

    #[test]
    fn what_is_read_can_be_written_back_and_changes_nothing() {
        for plan in policy().plans.names() {
            let settings = tenant(plan);
            assert_eq!(update(&settings, &body_of(&settings), &policy(), false).unwrap(), settings);
        }
    }

    #[test]
    fn every_wrong_field_is_named_at_once() {
        let settings = tenant(policy().plans.names()[0]);
        let mut body = body_of(&settings);
        body.name = " \n ".into();
        body.zone = "Mars/Olympus".into();
        body.alert_window_seconds = 9;
        body.tenant = Some("globex".into());
        body.allowed_email_domains = vec!["example.com".into(), "@example.com".into(), "localhost".into()];
        body.compliance.country = Some("India".into());
        body.compliance.sender_id = Some("123".into());
        body.data_processing.channels = Some(vec!["fax".into()]);
        body.data_processing.content = Some("some".into());
        body.categories.remove("billing");
        body.categories.insert("a/b".into(), body.categories["infrastructure"].clone());
        body.categories.get_mut("configurable").unwrap().muted_until = Some("tomorrow".into());
        assert_eq!(
            pointers(update(&settings, &body, &policy(), false).unwrap_err()),
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
            ]
        );
    }

    #[test]
    fn a_tick_stays_within_matrix_and_plan_and_the_plan_that_has_it_is_named() {
        let policy = policy();
        let smallest = policy.plans.names()[0].to_owned();
        let settings = tenant(&smallest);
        let mut body = body_of(&settings);
        body.categories.get_mut("infrastructure").unwrap().channels = vec!["email".into(), "sms".into()];
        body.categories.get_mut("billing").unwrap().channels = vec!["webhook".into()];
        let faults = update(&settings, &body, &policy, false).unwrap_err();
        assert_eq!(faults[0].pointer, "/categories/infrastructure/channels/1");
        let with_sms = &policy.plans.first_with(ChannelClass::Sms).unwrap().id;
        assert!(
            faults[0].detail.contains(&smallest) && faults[0].detail.contains(with_sms.as_str()),
            "{}",
            faults[0].detail
        );
        assert_eq!(faults[1].pointer, "/categories/billing/channels/0");
        assert!(faults[1].detail.contains("nobody gets billing"), "{}", faults[1].detail);
    }

    #[test]
    fn a_smaller_plan_takes_no_tick_away_and_lets_none_be_added() {
        let policy = policy();
        let (smallest, top) = (policy.plans.names()[0].to_owned(), policy.plans.top().unwrap().id.clone());
        let large = tenant(&top);
        let body = TenantBody { name: "Acme".into(), plan: smallest, zone: "UTC".into() };
        let small = rename(&large, &body, &policy).unwrap();
        assert_eq!(small.categories, large.categories);
        let mut same = body_of(&small);
        same.zone = "Europe/Berlin".into();
        assert!(update(&small, &same, &policy, false).is_ok());
        same.categories.get_mut("infrastructure").unwrap().channels = vec!["email".into()];
        let without = update(&small, &same, &policy, false).unwrap();
        assert_eq!(pointers(update(&without, &body_of(&small), &policy, false).unwrap_err()).len(), 3);
    }

    #[test]
    fn only_the_platform_changes_a_plan() {
        let policy = policy();
        let settings = tenant(policy.plans.names()[0]);
        let mut body = body_of(&settings);
        body.plan = Some(policy.plans.top().unwrap().id.clone());
        assert_eq!(pointers(update(&settings, &body, &policy, false).unwrap_err()), ["/plan"]);
        assert_eq!(Some(update(&settings, &body, &policy, true).unwrap().plan), body.plan);
        body.plan = Some("galactic".into());
        let faults = update(&settings, &body, &policy, true).unwrap_err();
        assert!(faults[0].detail.contains(policy.plans.names()[0]), "{}", faults[0].detail);
        body.plan = None;
        assert_eq!(update(&settings, &body, &policy, false).unwrap().plan, settings.plan);
    }

    #[test]
    fn domains_and_codes_are_normalised() {
        let settings = tenant(policy().plans.names()[0]);
        let mut body = body_of(&settings);
        body.allowed_email_domains = vec![" Example.COM ".into(), "example.com".into()];
        body.compliance.country = Some("in".into());
        let updated = update(&settings, &body, &policy(), false).unwrap();
        assert_eq!(updated.allowed_email_domains, ["example.com"]);
        assert_eq!(updated.compliance.country.as_deref(), Some("IN"));
    }
}
