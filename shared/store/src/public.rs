//! What anybody may see. The status page reads the index `public` and nothing else, and the index holds these views only.

use crate::{StoreError, Table, failed, keys, text};
use aws_sdk_dynamodb::types::AttributeValue;
use domain::ids::IncidentId;
use domain::incident::{Incident, Update};
use domain::status::{Said, Shown};
use serde::Serialize;

/// The name of the index.
pub const INDEX: &str = "public";

/// The view as one attribute: the index projects it and nothing else of the item.
pub(crate) fn view_of(incident: &Incident) -> Result<AttributeValue, StoreError> {
    to_attribute(&Shown {
        id: incident.id.clone(),
        title: incident.public_title.clone(),
        kind: incident.kind,
        status: incident.status,
        severity: incident.severity,
        components: incident.components.clone(),
        regions: incident.regions.clone(),
        started_at: incident.started_at,
        updated_at: incident.last_seen,
        resolved_at: incident.resolved_at,
        maintenance: incident.maintenance,
        covered_by: incident.covered.as_ref().map(|cover| cover.by.clone()),
    })
}

pub(crate) fn update_view(update: &Update) -> Result<AttributeValue, StoreError> {
    to_attribute(&Said {
        number: update.number,
        at: update.accepted_at,
        status: update.status,
        message: update.public_message.clone(),
    })
}

fn to_attribute(value: &impl Serialize) -> Result<AttributeValue, StoreError> {
    serde_dynamo::to_attribute_value(value)
        .map_err(|_| StoreError::Corrupt { kind: "a public view", detail: "cannot be written".to_owned() })
}

impl Table {
    /// The newest public incidents by their beginning, newest first, at most `limit`.
    ///
    /// # Errors
    /// [`StoreError`] of the call.
    pub async fn public_incidents(&self, limit: usize) -> Result<Vec<Shown>, StoreError> {
        self.public(keys::PUBLIC_INCIDENTS, limit).await
    }

    /// The public timeline of an incident, newest first, at most `limit`; empty unless the incident is public.
    ///
    /// # Errors
    /// [`StoreError`] of the call.
    pub async fn public_timeline(&self, id: &IncidentId, limit: usize) -> Result<Vec<Said>, StoreError> {
        self.public(&keys::public_timeline(id), limit).await
    }

    /// The newest views of `pk`, newest first.
    async fn public<T: serde::de::DeserializeOwned>(&self, pk: &str, limit: usize) -> Result<Vec<T>, StoreError> {
        let mut views = Vec::new();
        let mut start: Option<crate::Item> = None;
        loop {
            let left = i32::try_from(limit.saturating_sub(views.len()).min(1_000)).unwrap_or(1_000);
            let request = self.client.query().table_name(&self.name).index_name(INDEX).scan_index_forward(false);
            let request = request.limit(left).key_condition_expression("public_pk = :pk");
            let request = request.expression_attribute_values(":pk", text(pk)).set_exclusive_start_key(start);
            let answer = request.send().await.map_err(|error| failed("Query", &error))?;
            for mut found in answer.items.unwrap_or_default() {
                let Some(view) = found.remove("public_view") else { continue };
                views.push(
                    serde_dynamo::from_attribute_value(view).map_err(|_| StoreError::Corrupt {
                        kind: "a public view",
                        detail: "cannot be read".to_owned(),
                    })?,
                );
            }
            start = answer.last_evaluated_key;
            if start.is_none() || views.len() >= limit {
                return Ok(views);
            }
        }
    }
}
