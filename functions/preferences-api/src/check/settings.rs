//! Checks of a tenant's settings.

use super::{FieldErrors, digest_body, quiet_hours_body};
use contracts::http::{
    ApprovedNamesBody, CategoryBody, ComplianceBody, ComplianceConfirmation, DataProcessingBody, FootprintBody,
    SettingsBody, TenantBody,
};
use contracts::problem::{FieldError, pointer_segment};
use domain::ids::TenantId;
use domain::policy::{FootprintEditor, Policy};
use domain::tenant::{
    ApprovedNames, CategorySettings, ComplianceConfirmed, ContentLevel, DataProcessing, Email, Footprint, NameRequests,
    Settings, SmsCompliance, compliance_wording,
};
use domain::vocabulary::{Category, ChannelClass, StormMode};
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};

/// Most characters of a name that strangers read. It fits one text message with the code.
const PUBLIC_NAME_MAX: usize = 60;
/// The remedy for a field that only the platform changes.
const PLATFORM_ONLY: &str = "can only be changed with the scope platform:admin; ask a platform admin";
/// Most allowed e-mail domains of a tenant.
const DOMAINS_MAX: usize = 50;

/// Checks `body` and returns the settings of a new tenant: every category off, with the channels that both the role matrix and the plan
/// allow.
pub(crate) fn new_settings(tenant: &TenantId, body: &TenantBody, policy: &Policy) -> Result<Settings, Vec<FieldError>> {
    let mut errors = FieldErrors::default();
    let (name, plan, zone) = check_basics(&mut errors, body, policy);
    let of_plan = policy.plans.get(&plan).map(|plan| plan.channels.clone()).unwrap_or_default();
    let preset = |category: Category| {
        let channels = policy.matrix.channels_for(category).intersection(&of_plan).copied().collect();
        (category, CategorySettings { enabled: false, channels, muted_until: None, min_severity: None })
    };
    errors.into_result(Settings {
        tenant: tenant.clone(),
        name,
        public_name: None,
        approved: ApprovedNames::default(),
        name_requests: NameRequests::default(),
        plan,
        zone,
        alert_window_seconds: 60,
        categories: Category::ALL.iter().copied().map(preset).collect(),
        allowed_email_domains: Vec::new(),
        compliance: SmsCompliance::default(),
        compliance_confirmed: BTreeMap::new(),
        data_processing: DataProcessing::default(),
        quiet_hours: None,
        min_severity: None,
        digest: None,
        storms: StormMode::Bundle,
        footprint: Footprint::default(),
        version: 1,
    })
}

/// Checks `body` and returns the settings with another name, plan or zone. Channels that a smaller plan does not include stay selected:
/// their deliveries are skipped with a reason, until a larger plan includes them again.
pub(crate) fn update_tenant(
    before: &Settings,
    body: &TenantBody,
    policy: &Policy,
) -> Result<Settings, Vec<FieldError>> {
    let mut errors = FieldErrors::default();
    let (name, plan, zone) = check_basics(&mut errors, body, policy);
    errors.into_result(Settings { name, plan, zone, ..before.clone() })
}

/// Checks name, plan and zone, and returns them.
fn check_basics(errors: &mut FieldErrors, body: &TenantBody, policy: &Policy) -> (String, String, String) {
    let name = errors.parse_display_name("/name", &body.name);
    check_plan(errors, &body.plan, policy);
    errors.check_zone(&body.zone);
    (name, body.plan.clone(), body.zone.clone())
}

fn check_plan(errors: &mut FieldErrors, plan: &str, policy: &Policy) {
    if policy.plans.get(plan).is_none() {
        errors.add("/plan", format_args!("must be one of {}", policy.plans.ids().join(", ")));
    }
}

/// Who changes a tenant's settings, and when.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Editor<'a> {
    /// The id of the caller's token, for the record of compliance confirmations.
    pub(crate) token_id: &'a str,
    /// Only the platform changes a plan, an agreement and approved names: a tenant can give itself none of them.
    pub(crate) is_platform_admin: bool,
    /// The time of the change.
    pub(crate) now: Timestamp,
}

/// Checks `body` and returns the settings to save.
pub(crate) fn update_settings(
    before: &Settings,
    body: &SettingsBody,
    policy: &Policy,
    editor: Editor<'_>,
) -> Result<Settings, Vec<FieldError>> {
    let mut errors = FieldErrors::default();
    errors.check_read_only_id("/tenant", body.tenant.as_deref(), before.tenant.as_str());
    let name = errors.parse_display_name("/name", &body.name);
    let plan = body.plan.clone().unwrap_or_else(|| before.plan.clone());
    if plan != before.plan {
        if editor.is_platform_admin {
            check_plan(&mut errors, &plan, policy);
        } else {
            errors.add("/plan", PLATFORM_ONLY);
        }
    }
    errors.check_zone(&body.zone);
    if !(10..=86_400).contains(&body.alert_window_seconds) {
        errors.add("/alert_window_seconds", "must be from 10 to 86400");
    }
    let categories = check_categories(&mut errors, before, &plan, &body.categories, policy);
    let allowed_email_domains = check_domains(&mut errors, &body.allowed_email_domains);
    let compliance_confirmed =
        check_compliance_confirmed(&mut errors, before, body.compliance.confirmed.as_deref(), editor);
    let compliance = check_compliance(&mut errors, &body.compliance);
    let data_processing = check_data_processing(&mut errors, before, body.data_processing.as_ref(), editor);
    let public_name = body.public_name.as_deref().map(|name| check_public_name(&mut errors, "/public_name", name));
    let approved = check_approved(&mut errors, before, body.approved.as_ref(), editor);
    let quiet_hours = errors.parse_quiet_hours(body.quiet_hours.as_ref());
    // Quiet hours that the plan does not include can be kept or removed, but not changed.
    if quiet_hours.is_some()
        && quiet_hours != before.quiet_hours
        && !policy.plans.get(&plan).is_some_and(|plan| plan.quiet_hours)
    {
        errors.add("/quiet_hours", format_args!("are not included in the plan {plan}; ask for a larger plan"));
    }
    let min_severity = errors.parse_severity("/min_severity", body.min_severity.as_deref());
    let digest = errors.parse_digest(body.digest.as_ref());
    if digest.is_some() && digest != before.digest && !policy.plans.get(&plan).is_some_and(|plan| plan.digest) {
        errors.add("/digest", format_args!("is not included in the plan {plan}; ask for a larger plan"));
    }
    let footprint = check_footprint(&mut errors, before, body.footprint.as_ref(), &plan, policy, editor);
    let storms = StormMode::parse(&body.storms);
    if storms.is_none() {
        errors.add("/storms", "must be bundle or each");
    }
    errors.into_result(Settings {
        tenant: before.tenant.clone(),
        name,
        public_name,
        approved,
        name_requests: before.name_requests,
        plan,
        zone: body.zone.clone(),
        alert_window_seconds: u32::try_from(body.alert_window_seconds).unwrap_or(60),
        categories,
        allowed_email_domains,
        compliance,
        compliance_confirmed,
        data_processing,
        quiet_hours,
        min_severity,
        digest,
        storms: storms.unwrap_or(before.storms),
        footprint,
        version: before.version,
    })
}

fn check_categories(
    errors: &mut FieldErrors,
    before: &Settings,
    plan: &str,
    given: &BTreeMap<String, CategoryBody>,
    policy: &Policy,
) -> BTreeMap<Category, CategorySettings> {
    let all = Category::ALL.iter().map(|category| category.as_str()).collect::<Vec<_>>().join(", ");
    for name in given.keys().filter(|name| Category::parse(name).is_none()) {
        errors
            .add(format!("/categories/{}", pointer_segment(name)), format_args!("is not a category; use one of {all}"));
    }
    let mut categories = BTreeMap::new();
    for &category in Category::ALL {
        let pointer = format!("/categories/{category}");
        let Some(body) = given.get(category.as_str()) else {
            errors.add(pointer, format_args!("is required; send all of {all}, or use PATCH to change one"));
            continue;
        };
        let known = before.categories.get(&category).map(|known| known.channels.clone()).unwrap_or_default();
        check_channels(errors, &pointer, category, &body.channels, &known, plan, policy);
        let channels = errors.parse_channel_classes(&format!("{pointer}/channels"), &body.channels);
        let muted_until = body.muted_until.as_deref().and_then(|text| {
            let until = text.parse::<Timestamp>().ok();
            if until.is_none() {
                errors.add(format!("{pointer}/muted_until"), "must be an RFC 3339 time, such as 2026-11-30T18:00:00Z");
            }
            until
        });
        let min_severity = errors.parse_severity(&format!("{pointer}/min_severity"), body.min_severity.as_deref());
        categories.insert(category, CategorySettings { enabled: body.enabled, channels, muted_until, min_severity });
    }
    categories
}

/// Checks that the role matrix and the plan allow the selected channels of a category. A channel that was selected before is accepted even
/// if the plan no longer includes it.
fn check_channels(
    errors: &mut FieldErrors,
    pointer: &str,
    category: Category,
    given: &[String],
    known: &BTreeSet<ChannelClass>,
    plan: &str,
    policy: &Policy,
) {
    let ceiling = policy.matrix.channels_for(category);
    for (index, class) in given.iter().enumerate().filter_map(|(index, text)| Some((index, ChannelClass::parse(text)?)))
    {
        let pointer = format!("{pointer}/channels/{index}");
        if !ceiling.contains(&class) {
            let possible = ceiling.iter().map(|class| class.as_str()).collect::<Vec<_>>().join(", ");
            errors.add(pointer, format_args!("is not available for {category} alerts; use {possible}"));
        } else if !known.contains(&class) && !policy.plans.get(plan).is_some_and(|plan| plan.channels.contains(&class))
        {
            match policy.plans.smallest_with_channel(class) {
                Some(larger) => errors.add(
                    pointer,
                    format_args!("{class} is not included in the plan {plan}; the plan {} includes it", larger.id),
                ),
                None => errors.add(pointer, format_args!("no plan includes {class}")),
            }
        }
    }
}

/// Checks the allowed e-mail domains and returns them in lower case, without duplicates.
fn check_domains(errors: &mut FieldErrors, given: &[String]) -> Vec<String> {
    if given.len() > DOMAINS_MAX {
        errors.add("/allowed_email_domains", format_args!("has more than {DOMAINS_MAX} entries; remove some"));
        return Vec::new();
    }
    let mut domains: Vec<String> = Vec::new();
    for (index, text) in given.iter().enumerate() {
        let domain = text.trim().to_lowercase();
        if domain.contains('@') || !domain.contains('.') || Email::parse(&format!("a@{domain}")).is_err() {
            errors.add(format!("/allowed_email_domains/{index}"), "must be a domain name, such as example.com");
        } else if !domains.contains(&domain) {
            domains.push(domain);
        }
    }
    domains
}

fn check_compliance(errors: &mut FieldErrors, given: &ComplianceBody) -> SmsCompliance {
    let country = given.country.as_deref().map(|text| text.trim().to_ascii_uppercase());
    if country.as_deref().is_some_and(|code| code.len() != 2 || !code.bytes().all(|byte| byte.is_ascii_uppercase())) {
        errors.add("/compliance/country", "must be a two-letter ISO 3166 country code, such as IN");
    }
    let mut registered = |name: &str, value: &Option<String>| {
        let value = value.as_deref().map(|text| text.trim().to_owned());
        let fits = |text: &String| (1..=50).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
        if value.as_ref().is_some_and(|text| !fits(text)) {
            errors.add(
                format!("/compliance/{name}"),
                "must have 1 to 50 letters or digits, exactly as registered with DLT",
            );
        }
        value
    };
    let dlt_entity_id = registered("dlt_entity_id", &given.dlt_entity_id);
    let dlt_template_id = registered("dlt_template_id", &given.dlt_template_id);
    let sender_id = given.sender_id.as_deref().map(|id| check_sender_id(errors, "/compliance/sender_id", id));
    SmsCompliance { country, dlt_entity_id, dlt_template_id, sender_id }
}

/// Returns the channels whose compliance is confirmed. One that was confirmed before keeps who confirmed it and when; a new one is recorded
/// with the editor; one that is left out is revoked. `None` leaves all unchanged.
fn check_compliance_confirmed(
    errors: &mut FieldErrors,
    before: &Settings,
    given: Option<&[String]>,
    editor: Editor<'_>,
) -> BTreeMap<ChannelClass, ComplianceConfirmed> {
    let Some(given) = given else { return before.compliance_confirmed.clone() };
    let mut confirmed = BTreeMap::new();
    for (index, word) in given.iter().enumerate() {
        let class = ChannelClass::parse(word);
        let Some((class, wording)) = class.and_then(|class| Some((class, compliance_wording(class)?))) else {
            errors.add(format!("/compliance/confirmed/{index}"), "must be email or sms");
            continue;
        };
        let fresh = || ComplianceConfirmed { by: editor.token_id.to_owned(), at: editor.now, wording };
        confirmed.insert(class, before.compliance_confirmed.get(&class).cloned().unwrap_or_else(fresh));
    }
    confirmed
}

/// Checks a sender id of text messages.
fn check_sender_id(errors: &mut FieldErrors, pointer: &str, text: &str) -> String {
    let id = text.trim();
    let fits = (3..=11).contains(&id.len())
        && id.bytes().all(|byte| byte.is_ascii_alphanumeric())
        && id.bytes().any(|byte| byte.is_ascii_alphabetic());
    if !fits {
        errors.add(pointer, "must have 3 to 11 letters and digits, with at least one letter");
    }
    id.to_owned()
}

/// Checks a name that people read who have not agreed to anything.
fn check_public_name(errors: &mut FieldErrors, pointer: &str, text: &str) -> String {
    let name = errors.parse_display_name(pointer, text);
    if name.chars().count() > PUBLIC_NAME_MAX {
        errors.add(pointer, format_args!("must have at most {PUBLIC_NAME_MAX} characters"));
    }
    if domain::text::looks_like_a_link(&name) {
        errors.add(pointer, "must be a name, without a URL or a domain such as example.com");
    }
    name
}

/// Returns the approved names: unchanged, unless a platform admin changes them.
fn check_approved(
    errors: &mut FieldErrors,
    before: &Settings,
    given: Option<&ApprovedNamesBody>,
    editor: Editor<'_>,
) -> ApprovedNames {
    let Some(ApprovedNamesBody { public_name, sender_id }) = given else { return before.approved.clone() };
    let approved = ApprovedNames {
        public_name: public_name.as_deref().map(|name| check_public_name(errors, "/approved/public_name", name)),
        sender_id: sender_id.as_deref().map(|id| check_sender_id(errors, "/approved/sender_id", id)),
    };
    if approved != before.approved && !editor.is_platform_admin {
        errors.add("/approved", PLATFORM_ONLY);
    }
    approved
}

/// Returns what the agreement allows: unchanged, unless a platform admin changes it.
fn check_data_processing(
    errors: &mut FieldErrors,
    before: &Settings,
    given: Option<&DataProcessingBody>,
    editor: Editor<'_>,
) -> DataProcessing {
    let Some(given) = given else { return before.data_processing.clone() };
    let channels =
        given.channels.as_ref().map(|given| errors.parse_channel_classes("/data_processing/channels", given));
    let content = match given.content.as_deref() {
        None | Some("full") => ContentLevel::Full,
        Some("minimal") => ContentLevel::Minimal,
        Some(_) => {
            errors.add("/data_processing/content", "must be full or minimal");
            ContentLevel::Full
        }
    };
    let agreed = DataProcessing { channels, content };
    if agreed != before.data_processing && !editor.is_platform_admin {
        errors.add("/data_processing", PLATFORM_ONLY);
    }
    agreed
}

/// Returns what the tenant uses: unchanged, unless the platform changes it, or the tenant where its plan says so. A name that the catalogue no
/// longer has can be kept.
fn check_footprint(
    errors: &mut FieldErrors,
    before: &Settings,
    given: Option<&FootprintBody>,
    plan: &str,
    policy: &Policy,
    editor: Editor<'_>,
) -> Footprint {
    let Some(given) = given else { return before.footprint.clone() };
    let catalogue = &policy.catalogue;
    let components: Vec<&str> = catalogue.components.iter().map(|known| known.id.as_str()).collect();
    let regions: Vec<&str> = catalogue.regions.iter().map(|known| known.id.as_str()).collect();
    let saved = &before.footprint;
    let footprint = Footprint {
        components: errors.parse_known_names(
            "/footprint/components",
            &given.components,
            &components,
            &saved.components,
        ),
        regions: errors.parse_known_names("/footprint/regions", &given.regions, &regions, &saved.regions),
    };
    let may_change = editor.is_platform_admin
        || policy.plans.get(plan).is_some_and(|plan| plan.footprint == FootprintEditor::Tenant);
    if footprint != before.footprint && !may_change {
        errors.add("/footprint", PLATFORM_ONLY);
    }
    footprint
}

fn confirmation_view(channel: ChannelClass, confirmed: &ComplianceConfirmed) -> ComplianceConfirmation {
    ComplianceConfirmation { channel, by: confirmed.by.clone(), at: confirmed.at, wording: confirmed.wording.clone() }
}

/// Returns settings as the API shows them. The same body can be sent back and changes nothing.
pub(crate) fn settings_body(settings: &Settings) -> SettingsBody {
    let words = |classes: &BTreeSet<ChannelClass>| classes.iter().map(|class| class.as_str().to_owned()).collect();
    let category = |(category, chosen): (&Category, &CategorySettings)| {
        let body = CategoryBody {
            enabled: chosen.enabled,
            channels: words(&chosen.channels),
            muted_until: chosen.muted_until.map(|until| until.to_string()),
            min_severity: chosen.min_severity.map(|severity| severity.as_str().to_owned()),
        };
        (category.to_string(), body)
    };
    let content = match settings.data_processing.content {
        ContentLevel::Full => "full",
        ContentLevel::Minimal => "minimal",
    };
    SettingsBody {
        tenant: Some(settings.tenant.to_string()),
        name: settings.name.clone(),
        public_name: settings.public_name.clone(),
        approved: Some(ApprovedNamesBody {
            public_name: settings.approved.public_name.clone(),
            sender_id: settings.approved.sender_id.clone(),
        }),
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
            confirmed: Some(settings.compliance_confirmed.keys().map(|class| class.as_str().to_owned()).collect()),
            confirmations: Some(
                settings.compliance_confirmed.iter().map(|(class, one)| confirmation_view(*class, one)).collect(),
            ),
        },
        data_processing: Some(DataProcessingBody {
            channels: settings.data_processing.channels.as_ref().map(words),
            content: Some(content.to_owned()),
        }),
        quiet_hours: settings.quiet_hours.as_ref().map(quiet_hours_body),
        min_severity: settings.min_severity.map(|severity| severity.as_str().to_owned()),
        digest: settings.digest.as_ref().map(digest_body),
        storms: settings.storms.as_str().to_owned(),
        footprint: Some(FootprintBody {
            components: settings.footprint.components.clone(),
            regions: settings.footprint.regions.clone(),
        }),
        version: Some(settings.version),
        lint: None,
    }
}

#[cfg(test)]
mod tests;
