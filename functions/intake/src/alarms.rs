//! CloudWatch alarms of the account: `IntakeQueue`, which the alarm topic and EventBridge feed.

use crate::accept::{PLATFORM, WRITE};
use crate::{Intake, drop_in};
use contracts::cloudwatch;
use contracts::queue::Correlated;
use domain::ids::IntegrationId;
use runtime::http::{Caller, HttpFunction};
use runtime::queue::{Failure, Meta, QueueFunction, Setup};
use runtime::{Aws, StartError};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The queue's side of the function.
#[derive(Debug)]
pub struct Alarms(Arc<Intake>);

/// What AWS put on the queue: an alarm as SNS or EventBridge sends it.
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
    /// The queue's side of a function.
    #[must_use]
    pub fn new(intake: Arc<Intake>) -> Self {
        Self(intake)
    }
}

/// Whoever sets alarms in this account: the operators, who may speak for everybody.
fn account() -> Caller {
    Caller {
        token_id: "cloudwatch".to_owned(),
        integration_id: IntegrationId::new("cloudwatch").to_string(),
        scopes: [WRITE, PLATFORM].map(str::to_owned).into(),
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

    fn setup(&self) -> Setup {
        let config = &self.0.config;
        Setup::lanes(&config.dead_letter_queue_url, &config.queue_url, &config.queue_url)
    }

    fn read(&self, body: &str, meta: &Meta) -> Result<Alarm, String> {
        Ok(Alarm { body: body.to_owned(), message_id: meta.message_id.clone() })
    }

    async fn handle(&self, alarm: Alarm, _meta: &Meta) -> Result<(), Failure> {
        let (format, caller) = (&cloudwatch::FORMAT, account());
        let mapped = drop_in::read(&self.0, format, alarm.body.as_bytes(), &BTreeMap::new(), &caller);
        let mapped = mapped.map_err(|errors| {
            let words: Vec<String> =
                errors.into_iter().map(|error| format!("{}: {}", error.pointer, error.detail)).collect();
            Failure::poison(&format!("it is no alarm of CloudWatch: {}", words.join("; ")))
        })?;
        let taken = drop_in::take(&self.0, &caller, &alarm.message_id, format.name, mapped).await;
        taken.map(|_| ()).map_err(|problem| Failure::retry("not_taken", problem.status.as_str()))
    }
}
