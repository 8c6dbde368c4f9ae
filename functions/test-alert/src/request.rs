//! What is request for, checked; and the event that it becomes. Pure.

use contracts::http::TestAlertBody;
use contracts::problem::FieldError;
use domain::event::{Event, Format, TEST_ALERT_TYPE, TestTarget};
use domain::ids::{IntegrationId, RecipientId};
use domain::tenant::Settings;
use domain::vocabulary::{Category, Channel, Severity};

/// How long the answer waits for outcomes unless it is said.
const DEFAULT_WAIT_SECONDS: u32 = 15;

/// A test as it will be sent.
#[derive(Debug, PartialEq)]
pub(crate) struct TestRequest {
    pub(crate) category: Category,
    pub(crate) test_of: TestTarget,
    pub(crate) wait_seconds: u32,
    pub(crate) confirm_all: bool,
}

/// Reads a body. Without a category it is the first one that is switched on, for that is what an admin can have alerts of.
pub(crate) fn parse(body: &TestAlertBody, settings: &Settings, wait_max: u32) -> Result<TestRequest, Vec<FieldError>> {
    let mut errors = Vec::new();
    let mut wrong = |pointer: &str, detail: String| errors.push(FieldError::new(pointer, detail));
    let category = match body.category.as_deref() {
        None => first_enabled_category(settings),
        Some(word) => Category::parse(word).unwrap_or_else(|| {
            wrong("/category", "must be infrastructure, billing or configurable".to_owned());
            Category::Infrastructure
        }),
    };
    let channels = match body.channel.as_deref() {
        None => Vec::new(),
        Some("chat") => vec![Channel::Slack, Channel::Teams],
        Some(word) => Channel::ALL.iter().copied().filter(|channel| channel.as_str() == word).collect(),
    };
    if body.channel.is_some() && channels.is_empty() {
        wrong("/channel", "must be email, sms, chat, slack, teams or webhook".to_owned());
    }
    if body.recipient_id.is_some() && body.integration_id.is_some() {
        wrong("/integration_id", "name a recipient or an integration, not both".to_owned());
    }
    if body.recipient_id.as_deref().is_some_and(|id| RecipientId::parse(id).is_none()) {
        wrong("/recipient_id", "is not the id of a recipient".to_owned());
    }
    if body.integration_id.as_deref().is_some_and(|id| IntegrationId::parse(id).is_none()) {
        wrong("/integration_id", "is not the id of an integration".to_owned());
    }
    let wait_seconds = body.wait_seconds.unwrap_or(DEFAULT_WAIT_SECONDS.min(wait_max));
    if wait_seconds > wait_max {
        wrong(
            "/wait_seconds",
            format!("must be from 0 to {wait_max}; read the test again by its id for what comes later"),
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

/// The event. `id` keeps two tests apart.
pub(crate) fn build_event(request: &TestRequest, settings: &Settings, id: &str) -> Event {
    let category = request.category;
    Event {
        event_type: TEST_ALERT_TYPE.to_owned(),
        dedup_key: id.to_owned(),
        severity: Severity::Critical,
        title: format!("Test alert: {}", category.title()),
        message: format!(
            "Somebody who manages the alerts of {} sent this to see whether {} alerts reach you. A real one would look like this.",
            settings.name,
            category.title()
        ),
        tenant_ids: vec![settings.tenant.clone()],
        labels: [("category".to_owned(), category.as_str().to_owned())].into(),
        public: Some(false),
        test_of: Some(request.test_of.clone()),
        ..Event::blank(Format::Native, "tocsin.test")
    }
    .truncated_to_limits()
}
