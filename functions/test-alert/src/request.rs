//! Checks the request for a test alert and builds its event. Pure.

use contracts::http::TestAlertBody;
use contracts::problem::FieldError;
use domain::event::{Event, Format, TEST_ALERT_TYPE, TestTarget};
use domain::ids::{IntegrationId, RecipientId};
use domain::tenant::Settings;
use domain::vocabulary::{Category, Channel, Severity};

/// Seconds to wait for outcomes, unless the request has `wait_seconds`.
const DEFAULT_WAIT_SECONDS: u32 = 15;

/// The checked request.
#[derive(Debug, PartialEq)]
pub(crate) struct TestRequest {
    pub(crate) category: Category,
    pub(crate) test_of: TestTarget,
    pub(crate) wait_seconds: u32,
    pub(crate) confirm_all: bool,
}

/// Checks a body. Without a category the first enabled one is tested, because only enabled ones send alerts.
pub(crate) fn parse(body: &TestAlertBody, settings: &Settings, wait_max: u32) -> Result<TestRequest, Vec<FieldError>> {
    let mut errors = Vec::new();
    let mut add_error = |pointer: &str, detail: String| errors.push(FieldError::new(pointer, detail));
    let category = match body.category.as_deref() {
        None => first_enabled_category(settings),
        Some(word) => Category::parse(word).unwrap_or_else(|| {
            add_error("/category", "must be infrastructure, billing or configurable".to_owned());
            Category::Infrastructure
        }),
    };
    let channels = match body.channel.as_deref() {
        None => Vec::new(),
        Some("chat") => vec![Channel::Slack, Channel::Teams],
        Some(word) => Channel::ALL.iter().copied().filter(|channel| channel.as_str() == word).collect(),
    };
    if body.channel.is_some() && channels.is_empty() {
        add_error("/channel", "must be email, sms, chat, slack, teams or webhook".to_owned());
    }
    if body.recipient_id.is_some() && body.integration_id.is_some() {
        add_error("/integration_id", "send recipient_id or integration_id, not both".to_owned());
    }
    if body.recipient_id.as_deref().is_some_and(|id| RecipientId::parse(id).is_none()) {
        add_error("/recipient_id", "must be the id of a recipient".to_owned());
    }
    if body.integration_id.as_deref().is_some_and(|id| IntegrationId::parse(id).is_none()) {
        add_error("/integration_id", "must be the id of an integration".to_owned());
    }
    let wait_seconds = body.wait_seconds.unwrap_or(DEFAULT_WAIT_SECONDS.min(wait_max));
    if wait_seconds > wait_max {
        add_error(
            "/wait_seconds",
            format!("must be from 0 to {wait_max}; to see later outcomes, GET the test by its id"),
        );
    }
    let destination = body.recipient_id.clone().or_else(|| body.integration_id.clone());
    let request = TestRequest {
        category,
        test_of: TestTarget { channels, destination },
        wait_seconds,
        confirm_all: body.confirm_all,
    };
    if errors.is_empty() { Ok(request) } else { Err(errors) }
}

fn first_enabled_category(settings: &Settings) -> Category {
    let is_enabled = |category: &&Category| settings.categories.get(category).is_some_and(|chosen| chosen.enabled);
    Category::ALL.iter().find(is_enabled).copied().unwrap_or(Category::Infrastructure)
}

/// Builds the event of a test. `id` is its dedup key, so that every test is an incident of its own.
pub(crate) fn build_event(request: &TestRequest, settings: &Settings, id: &str) -> Event {
    let category = request.category;
    Event {
        event_type: TEST_ALERT_TYPE.to_owned(),
        dedup_key: id.to_owned(),
        severity: Severity::Critical,
        title: format!("Test alert: {}", category.title()),
        message: format!(
            "This is a test. An admin of {} sent it to check that {} alerts reach you. A real alert looks like this.",
            settings.name,
            category.title()
        ),
        tenant_ids: vec![settings.tenant.clone()],
        labels: [("category".to_owned(), category.as_str().to_owned())].into(),
        public: Some(false),
        test_of: Some(request.test_of.clone()),
        ..Event::blank(Format::Native, "tocsin.test")
    }
    .normalized()
}
