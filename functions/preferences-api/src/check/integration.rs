//! Checks of an integration: a Slack, Teams or webhook destination.

use super::{FieldErrors, FilterFields, min_severities_body};
use contracts::http::{DisabledBody, IntegrationBody};
use contracts::problem::FieldError;
use domain::ids::IntegrationId;
use domain::tenant::{Filters, Integration};
use domain::vocabulary::{Category, Channel, Role};
use jiff::Timestamp;
use outbound::{Exceptions, SecretUrl};
use std::collections::BTreeSet;

/// The kinds that an integration can have.
const KINDS: &[&str] = &["slack", "teams", "webhook"];
/// Hosts of Slack's incoming webhooks; the second is GovSlack's.
const SLACK_HOSTS: &[&str] = &["hooks.slack.com", "hooks.slack-gov.com"];

/// A checked integration, whose URL and secret are not yet encrypted.
#[derive(Debug)]
pub(crate) struct IntegrationDraft {
    pub(crate) name: String,
    pub(crate) kind: Channel,
    /// A new URL; `None` keeps the saved one.
    pub(crate) url: Option<SecretUrl>,
    /// A signing secret that the tenant chose; `None` generates one.
    pub(crate) secret: Option<String>,
    pub(crate) categories: BTreeSet<Category>,
    pub(crate) audiences: BTreeSet<Role>,
    pub(crate) filters: Filters,
    pub(crate) paused: bool,
    /// Whether to enable an integration that was disabled because its endpoint kept failing.
    pub(crate) enable: bool,
}

/// Checks `body`. `before` is the saved integration; `None` for a new one.
pub(crate) fn check_integration(
    before: Option<&Integration>,
    id: &IntegrationId,
    body: &IntegrationBody,
    exceptions: &Exceptions,
) -> Result<IntegrationDraft, Vec<FieldError>> {
    let mut errors = FieldErrors::default();
    errors.check_read_only_id("/id", body.id.as_deref(), id.as_str());
    let name = errors.parse_display_name("/name", &body.name);
    let kind = Channel::parse(&body.kind).filter(|_| KINDS.contains(&body.kind.as_str()));
    match (kind, before) {
        (None, _) => errors.add("/kind", format_args!("must be one of {}", KINDS.join(", "))),
        (Some(kind), Some(before)) if kind != before.kind => {
            errors.add("/kind", "cannot be changed; create another integration and delete this one");
        }
        _ => {}
    }
    let url = match (&body.url, kind) {
        (Some(text), Some(kind)) => {
            let checked = check_url(kind, text.expose(), exceptions);
            checked.map_err(|detail| errors.add("/url", detail)).ok()
        }
        (None, _) if before.is_none() => {
            errors.add("/url", "is required; add the full URL, beginning with https://");
            None
        }
        _ => None,
    };
    let secret = body.secret.as_ref().map(|secret| secret.expose().to_owned());
    if secret.is_some() && before.is_some() {
        errors
            .add("/secret", "cannot be changed here; use POST …/secret, which keeps the old secret valid for 24 hours");
    } else if let Some(given) = &secret {
        if kind.is_some_and(|kind| kind != Channel::Webhook) {
            errors.add("/secret", "is for webhooks only; leave it out");
        } else if let Err(detail) = check_secret(given) {
            errors.add("/secret", detail);
        }
    }
    let categories = errors.parse_categories("/categories", &body.categories);
    let audiences = errors.parse_roles("/audiences", &body.audiences);
    let filters = errors.parse_filters(FilterFields {
        regions: &body.regions,
        components: &body.components,
        min_severity: body.min_severity.as_deref(),
        min_severities: &body.min_severities,
    });
    let is_disabled = before.is_some_and(|before| before.disabled.is_some());
    if body.enabled == Some(false) && !is_disabled {
        errors.add("/enabled", "cannot be set to false; to stop alerts to this integration, set `paused` to true");
    }
    let Some(kind) = kind else { return Err(errors.into_vec()) };
    let enable = is_disabled && body.enabled == Some(true);
    errors.into_result(IntegrationDraft {
        name,
        kind,
        url,
        secret,
        categories,
        audiences,
        filters,
        paused: body.paused,
        enable,
    })
}

/// Checks a signing secret that the tenant chose: it must have the format that the Standard Webhooks libraries read.
pub(crate) fn check_secret(given: &str) -> Result<(), String> {
    outbound::check_secret(given).map_err(|error| error.to_string())
}

fn check_url(kind: Channel, text: &str, exceptions: &Exceptions) -> Result<SecretUrl, String> {
    let url = outbound::check_url(text, exceptions).map_err(|problem| problem.to_string())?;
    // In the local stage, test receivers on other hosts replace Slack and Teams.
    if outbound::check_url(text, &Exceptions::default()).is_err() {
        return Ok(url);
    }
    match kind {
        Channel::Slack if !SLACK_HOSTS.contains(&url.host()) || !url_path(&url).starts_with("/services/") => {
            Err("is not a Slack incoming webhook URL; copy it from the \"Incoming Webhooks\" page of your Slack app: \
             https://hooks.slack.com/services/…"
                .to_owned())
        }
        Channel::Teams if contracts::teams::is_retired_host(url.host()) => Err(
            "is an Office 365 connector URL, which Microsoft has retired; create a workflow (in the Teams channel: Workflows, \
             \"Post to a channel when a webhook request is received\") and use its URL"
                .to_owned(),
        ),
        _ => Ok(url),
    }
}

fn url_path(url: &SecretUrl) -> &str {
    let after_scheme = url.expose().split_once("://").map_or("", |(_, rest)| rest);
    after_scheme.find('/').and_then(|at| after_scheme.get(at..)).unwrap_or("/")
}

/// Returns an integration as the API shows it: only the host of its URL, and no secret.
pub(crate) fn integration_body(integration: &Integration, now: Timestamp) -> IntegrationBody {
    let old = integration.old_secret.as_ref().filter(|old| old.until > now);
    IntegrationBody {
        id: Some(integration.id.to_string()),
        name: integration.name.clone(),
        kind: integration.kind.as_str().to_owned(),
        url: None,
        host: Some(integration.host.clone()),
        secret: None,
        old_secret_valid_until: old.map(|old| old.until),
        categories: integration.categories.iter().map(|category| category.as_str().to_owned()).collect(),
        audiences: integration.audiences.iter().map(|role| role.as_str().to_owned()).collect(),
        regions: integration.filters.regions.clone(),
        components: integration.filters.components.clone(),
        min_severity: integration.filters.min_severity.map(|severity| severity.as_str().to_owned()),
        min_severities: min_severities_body(&integration.filters),
        paused: integration.paused,
        enabled: Some(integration.disabled.is_none()),
        disabled: integration.disabled.as_ref().map(|why| DisabledBody {
            at: why.at,
            cause: why.cause.clone(),
            probe_at: why.probe_at,
        }),
        failing_since: integration.failing,
        slow_since: integration.slow,
        version: Some(integration.version),
        lint: None,
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use contracts::http::Private;
    use domain::tenant::{Disablement, Sealed};

    fn id() -> IntegrationId {
        IntegrationId::new("a")
    }

    fn body(kind: &str, url: &str) -> IntegrationBody {
        IntegrationBody {
            name: "Ops".into(),
            kind: kind.into(),
            url: Some(Private::new(url)),
            audiences: vec!["tech_devops".into()],
            ..IntegrationBody::default()
        }
    }

    pub(crate) fn saved(kind: Channel) -> Integration {
        Integration {
            id: id(),
            name: "Ops".into(),
            kind,
            url: Sealed::new("v1.1.x".into()),
            host: "hooks.acme.io".into(),
            fingerprint: "f".into(),
            secret: None,
            old_secret: None,
            categories: [Category::Billing].into(),
            audiences: [Role::OrgAdmin].into(),
            filters: Filters::default(),
            paused: false,
            disabled: None,
            failing: None,
            slow: None,
            created_at: jiff::Timestamp::UNIX_EPOCH,
            version: 3,
        }
    }

    fn check(before: Option<&Integration>, body: &IntegrationBody) -> Result<IntegrationDraft, Vec<FieldError>> {
        check_integration(before, &id(), body, &Exceptions::parse("127.0.0.1:8443").unwrap())
    }

    fn pointers(result: Result<IntegrationDraft, Vec<FieldError>>) -> Vec<String> {
        result.unwrap_err().into_iter().map(|error| error.pointer).collect()
    }

    #[test]
    fn a_url_must_fit_the_kind_of_integration() {
        let workflow =
            "https://a1.environment.api.powerplatform.com/powerautomate/automations/direct/workflows/x?sig=s";
        for (kind, url) in [
            ("slack", "https://hooks.slack.com/services/T0/B0/x"),
            ("slack", "https://hooks.slack-gov.com/services/T0/B0/x"),
            ("teams", workflow),
            ("webhook", "https://hooks.acme.io/tocsin"),
            ("slack", "https://127.0.0.1:8443/slack"),
            ("teams", "https://127.0.0.1:8443/teams"),
            ("webhook", "https://127.0.0.1:8443/x"),
        ] {
            assert!(check(None, &body(kind, url)).is_ok(), "{kind} {url}");
        }
        for (kind, url, says) in [
            ("slack", "https://hooks.acme.io/services/x", "Incoming Webhooks"),
            ("slack", "https://hooks.slack.com/workflows/x", "Incoming Webhooks"),
            ("slack", "https://hooks.slack.com.evil.example/services/x", "Incoming Webhooks"),
            ("teams", "https://acme.webhook.office.com/webhookb2/x", "workflow"),
            ("webhook", "http://hooks.acme.io/x", "https://"),
            ("webhook", "https://169.254.169.254/latest", "not public"),
            ("webhook", "https://127.0.0.1:8444/x", "not public"),
            ("webhook", "https://localhost/x", "private network"),
        ] {
            let errors = check(None, &body(kind, url)).unwrap_err();
            assert_eq!(errors[0].pointer, "/url");
            assert!(errors[0].detail.contains(says), "{}", errors[0].detail);
            assert!(!errors[0].detail.contains("/x"), "{}", errors[0].detail);
        }
    }

    #[test]
    fn a_body_that_was_read_can_be_sent_back_and_keeps_url_and_secret() {
        let before = saved(Channel::Webhook);
        let draft = check(Some(&before), &integration_body(&before, Timestamp::UNIX_EPOCH)).unwrap();
        assert!(draft.url.is_none() && draft.secret.is_none() && !draft.enable);
        assert_eq!((draft.categories, draft.audiences), (before.categories, before.audiences));
    }

    #[test]
    fn a_shown_integration_holds_neither_url_nor_secret() {
        let mut before = saved(Channel::Webhook);
        before.secret = Some(Sealed::new("v1.1.SECRET".into()));
        let written = serde_json::to_string(&integration_body(&before, Timestamp::UNIX_EPOCH)).unwrap();
        assert!(
            !written.contains("v1.1") && !written.contains("\"f\"") && written.contains("hooks.acme.io"),
            "{written}"
        );
    }

    #[test]
    fn enabled_true_enables_a_disabled_integration_and_false_does_not_pause() {
        let mut before = saved(Channel::Webhook);
        let with_enabled = |enabled| IntegrationBody {
            enabled: Some(enabled),
            ..integration_body(&saved(Channel::Webhook), Timestamp::UNIX_EPOCH)
        };
        assert_eq!(pointers(check(Some(&before), &with_enabled(false))), ["/enabled"]);
        assert!(!check(Some(&before), &with_enabled(true)).unwrap().enable);
        before.disabled = Some(Disablement { at: Timestamp::UNIX_EPOCH, cause: "http_410".into(), probe_at: None });
        assert!(!check(Some(&before), &with_enabled(false)).unwrap().enable);
        assert!(check(Some(&before), &with_enabled(true)).unwrap().enable);
        assert_eq!(integration_body(&before, Timestamp::UNIX_EPOCH).enabled, Some(false));
    }

    #[test]
    fn every_wrong_field_is_reported_at_once() {
        let bad = IntegrationBody {
            name: "two\nlines".into(),
            kind: "email".into(),
            categories: vec!["weather".into()],
            ..IntegrationBody::default()
        };
        assert_eq!(pointers(check(None, &bad)), ["/name", "/kind", "/url", "/categories/0", "/audiences"]);
        let with_secret = |kind: &str, secret: &str| IntegrationBody {
            secret: Some(Private::new(secret)),
            ..body(kind, "https://127.0.0.1:8443/x")
        };
        assert_eq!(pointers(check(None, &with_secret("slack", "whsec_x"))), ["/secret"]);
        assert_eq!(pointers(check(None, &with_secret("webhook", "short"))), ["/secret"]);
        let good = outbound::encode_secret(&[7; 32]);
        assert_eq!(check(None, &with_secret("webhook", &good)).unwrap().secret, Some(good.clone()));
        let before = saved(Channel::Webhook);
        assert_eq!(pointers(check(Some(&before), &with_secret("webhook", &good))), ["/secret"]);
        assert_eq!(pointers(check(Some(&before), &body("teams", "https://127.0.0.1:8443/x"))), ["/kind"]);
    }
}
