//! What anybody may see. The status page reads the index `public` and nothing else, and the index holds these views only.

use crate::{StoreError, Table, failed, keys, text};
use aws_sdk_dynamodb::types::AttributeValue;
use domain::ids::IncidentId;
use domain::incident::{Incident, PublicScope, Update};
use domain::status::{Said, Shown};
use jiff::Timestamp;
use serde::Serialize;
use std::collections::BTreeMap;

/// The name of the index.
pub const INDEX: &str = "public";

/// The view as one attribute: the index projects it and nothing else of the item.
pub(crate) fn view_of(incident: &Incident) -> Result<AttributeValue, StoreError> {
    let PublicScope { components, regions } = incident.shown();
    to_attribute(&Shown {
        id: incident.id.clone(),
        title: incident.public_title.clone(),
        kind: incident.kind,
        status: incident.status,
        severity: incident.severity,
        components,
        regions,
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

/// The public incidents that were read.
#[derive(Clone, Debug, PartialEq)]
pub struct PublicIncidents {
    /// Everything that is open and the newest of the rest, what was opened last first.
    pub incidents: Vec<Shown>,
    /// Where there may be more: since when all that was opened is here.
    pub known_from: Option<Timestamp>,
}

impl Table {
    /// All public incidents that are open, and of the others the `limit` that were opened last.
    ///
    /// # Errors
    /// [`StoreError`] of the call.
    pub async fn public_incidents(&self, limit: usize) -> Result<PublicIncidents, StoreError> {
        // In this order: what ends between the two is in both, and not in neither.
        let open: Vec<(String, Shown)> = self.public(keys::PUBLIC_OPEN, usize::MAX).await?;
        let over: Vec<(String, Shown)> = self.public(keys::PUBLIC_INCIDENTS, limit).await?;
        let oldest = over.last().filter(|_| over.len() >= limit);
        let known_from = oldest.and_then(|(place, _)| keys::opened(place));
        let all: BTreeMap<String, Shown> = open.into_iter().chain(over).collect();
        Ok(PublicIncidents { incidents: all.into_values().rev().collect(), known_from })
    }

    /// The public timeline of an incident, newest first, at most `limit`; empty unless the incident is public.
    ///
    /// # Errors
    /// [`StoreError`] of the call.
    pub async fn public_timeline(&self, id: &IncidentId, limit: usize) -> Result<Vec<Said>, StoreError> {
        let entries = self.public(&keys::public_timeline(id), limit).await?;
        Ok(entries.into_iter().map(|(_, said)| said).collect())
    }

    /// The newest views of `pk` with their places, newest first.
    async fn public<T: serde::de::DeserializeOwned>(
        &self,
        pk: &str,
        limit: usize,
    ) -> Result<Vec<(String, T)>, StoreError> {
        let mut views = Vec::new();
        let mut start: Option<crate::Item> = None;
        loop {
            let left = i32::try_from(limit.saturating_sub(views.len()).min(1_000)).unwrap_or(1_000);
            let request = self.client.query().table_name(&self.name).index_name(INDEX).scan_index_forward(false);
            let request = request.limit(left).key_condition_expression("public_pk = :pk");
            let request = request.expression_attribute_values(":pk", text(pk)).set_exclusive_start_key(start);
            let answer = request.send().await.map_err(|error| failed("Query", &error))?;
            for mut found in answer.items.unwrap_or_default() {
                let place = found.remove("public_sk").and_then(|place| place.as_s().cloned().ok());
                let Some((place, view)) = place.zip(found.remove("public_view")) else { continue };
                let view = serde_dynamo::from_attribute_value(view)
                    .map_err(|_| StoreError::Corrupt { kind: "a public view", detail: "cannot be read".to_owned() })?;
                views.push((place, view));
            }
            start = answer.last_evaluated_key;
            if start.is_none() || views.len() >= limit {
                return Ok(views);
            }
        }
    }
}
