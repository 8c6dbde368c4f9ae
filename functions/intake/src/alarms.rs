//! CloudWatch alarms of the account, from `IntakeQueue`: the alarm topic (SNS) and EventBridge send them there.

use crate::permissions::{PLATFORM_SCOPE, WRITE_SCOPE};
use crate::{Intake, drop_in};
use contracts::cloudwatch;
use contracts::queue::Correlated;
use domain::ids::IntegrationId;
use runtime::http::{Caller, HttpFunction};
use runtime::queue::{QueueFunction, QueueSetup, RecordError, RecordMeta};
use runtime::{Aws, StartError};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The queue consumer of intake.
#[derive(Debug)]
pub struct Alarms(Arc<Intake>);

/// A message on the queue: an alarm as SNS or EventBridge sends it.
#[derive(Debug, Deserialize)]
pub struct Alarm {
    body: String,
    message_id: String,
}

impl Correlated for Alarm {
    fn correlation_id(&self) -> &str {
        &self.message_id
    }
}

impl Alarms {
    /// Creates the queue consumer beside the HTTP function.
    #[must_use]
    pub fn new(intake: Arc<Intake>) -> Self {
        Self(intake)
    }
}

/// The caller of alarms. Only operators can create alarms in this account, so they may be about the whole platform.
fn account_caller() -> Caller {
    Caller {
        token_id: "cloudwatch".to_owned(),
        integration_id: IntegrationId::new("cloudwatch").to_string(),
        scopes: [WRITE_SCOPE, PLATFORM_SCOPE].map(str::to_owned).into(),
        tenants: None,
        defaults: None,
    }
}

impl QueueFunction for Alarms {
    const NAME: &'static str = Intake::NAME;
    type Message = Alarm;

    async fn start(aws: &Aws) -> Result<Self, StartError> {
        Intake::start(aws).await.map(|intake| Self(Arc::new(intake)))
    }

    fn setup(&self) -> QueueSetup {
        let config = &self.0.config;
        QueueSetup::lanes(&config.dead_letter_queue_url, &config.queue_url, &config.queue_url)
    }

    fn read(&self, body: &str, meta: &RecordMeta) -> Result<Alarm, RecordError> {
        Ok(Alarm { body: body.to_owned(), message_id: meta.message_id.clone() })
    }

    async fn handle(&self, alarm: Alarm, _meta: &RecordMeta) -> Result<(), RecordError> {
        let (format, caller) = (&cloudwatch::FORMAT, account_caller());
        let mapped = drop_in::parse(&self.0, format, alarm.body.as_bytes(), &BTreeMap::new(), &caller);
        let mapped = mapped.map_err(|errors| {
            let errors: Vec<String> =
                errors.into_iter().map(|error| format!("{}: {}", error.pointer, error.detail)).collect();
            RecordError::unprocessable(&format!("not a CloudWatch alarm: {}", errors.join("; ")))
        })?;
        let accepted = drop_in::accept(&self.0, &caller, &alarm.message_id, format.name, mapped).await;
        accepted.map(|_| ()).map_err(|problem| RecordError::retry("not_accepted", problem.status.as_str()))
    }
}
