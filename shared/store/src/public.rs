//! Public views of incidents and updates. The status page reads only the index `public`, and the index contains only these views.

use crate::{StoreError, Table, keys, store_error, text};
use aws_sdk_dynamodb::types::AttributeValue;
use domain::ids::IncidentId;
use domain::incident::{Incident, PublicScope, Update};
use domain::status::{PublishedIncident, PublishedUpdate};
use jiff::Timestamp;
use serde::Serialize;
use std::collections::BTreeMap;

/// Name of the index that the status page reads.
pub const INDEX: &str = "public";

/// Among how many incidents that are over one is searched for whose place is unknown.
const INCIDENTS_SEARCHED: usize = 1_000;

/// Builds an incident's public view as one attribute. The index projects this attribute and nothing else of the item.
pub(crate) fn incident_view(incident: &Incident) -> Result<AttributeValue, StoreError> {
    let PublicScope { components, regions } = incident.public_scope();
    to_attribute(&PublishedIncident {
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

pub(crate) fn update_view(incident: &Incident, update: &Update) -> Result<AttributeValue, StoreError> {
    to_attribute(&PublishedUpdate {
        opened_at: Some(opening_of(incident)),
        number: update.number,
        at: update.accepted_at,
        status: update.status,
        message: update.public_message.clone(),
    })
}

/// Returns the opening by which a public incident is listed. For incidents stored before `opened_at` existed it is no later than `last_seen`,
/// which no sender can choose.
pub(crate) fn opening_of(incident: &Incident) -> Timestamp {
    incident.opened_at.unwrap_or(incident.started_at.min(incident.last_seen))
}

fn to_attribute(value: &impl Serialize) -> Result<AttributeValue, StoreError> {
    serde_dynamo::to_attribute_value(value)
        .map_err(|_| StoreError::Corrupt { kind: "a public view", detail: "cannot be written".to_owned() })
}

fn read_view<T: serde::de::DeserializeOwned>(view: AttributeValue) -> Result<T, StoreError> {
    serde_dynamo::from_attribute_value(view)
        .map_err(|_| StoreError::Corrupt { kind: "a public view", detail: "cannot be read".to_owned() })
}

/// Public incidents, and how far back the list is complete.
#[derive(Clone, Debug, PartialEq)]
pub struct PublicIncidents {
    /// All open incidents and the most recent of the others, by opening time, newest first.
    pub incidents: Vec<PublishedIncident>,
    /// The list has all incidents opened since this time. `None` if it has all incidents.
    pub complete_since: Option<Timestamp>,
}

impl Table {
    /// Returns all open public incidents, and of the others the `limit` that were opened last.
    ///
    /// # Errors
    /// [`StoreError`] of the call.
    pub async fn public_incidents(&self, limit: usize) -> Result<PublicIncidents, StoreError> {
        // Open incidents are read first: an incident that is resolved between the two reads is then in both, not in neither.
        let open: Vec<(String, PublishedIncident)> = self.query_public_index(keys::PUBLIC_OPEN, usize::MAX).await?;
        let over: Vec<(String, PublishedIncident)> = self.query_public_index(keys::PUBLIC_INCIDENTS, limit).await?;
        let oldest = over.last().filter(|_| over.len() >= limit);
        let complete_since = oldest.and_then(|(sort_key, _)| keys::public_incident_opened_at(sort_key));
        let all: BTreeMap<String, PublishedIncident> = open.into_iter().chain(over).collect();
        Ok(PublicIncidents { incidents: all.into_values().rev().collect(), complete_since })
    }

    /// Returns a public incident by its id; `None` if there is none. Three small queries at most, however many incidents there are: its timeline
    /// says when it was opened, which is its place in the list. One whose newest update 0.1.0 wrote is searched for among all of them.
    ///
    /// # Errors
    /// [`StoreError`] of a call.
    pub async fn public_incident(&self, id: &IncidentId) -> Result<Option<PublishedIncident>, StoreError> {
        let newest = self.public_timeline(id, 1).await?.into_iter().next();
        let Some(newest) = newest else { return Ok(None) };
        let Some(opened) = newest.opened_at else {
            let all = self.public_incidents(INCIDENTS_SEARCHED).await?;
            return Ok(all.incidents.into_iter().find(|incident| incident.id == *id));
        };
        let sort_key = keys::public_incident(opened, id);
        // An incident that is resolved between the two reads is in the second list.
        for list in [keys::PUBLIC_OPEN, keys::PUBLIC_INCIDENTS] {
            if let Some(found) = self.public_view(list, &sort_key).await? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// Returns an incident's public timeline, newest first, at most `limit` updates; empty if the incident is not public.
    ///
    /// # Errors
    /// [`StoreError`] of the call.
    pub async fn public_timeline(&self, id: &IncidentId, limit: usize) -> Result<Vec<PublishedUpdate>, StoreError> {
        let entries = self.query_public_index(&keys::public_timeline(id), limit).await?;
        Ok(entries.into_iter().map(|(_, update)| update).collect())
    }

    /// Returns one incident of a list by its sort key.
    async fn public_view(&self, list: &str, sort_key: &str) -> Result<Option<PublishedIncident>, StoreError> {
        let request = self.client.query().table_name(&self.name).index_name(INDEX).limit(1);
        let request = request.key_condition_expression("public_pk = :pk AND public_sk = :sk");
        let request = request.expression_attribute_values(":pk", text(list));
        let answer = request.expression_attribute_values(":sk", text(sort_key)).send().await;
        let found = answer.map_err(|error| store_error("Query", &error))?.items.unwrap_or_default().into_iter().next();
        found.and_then(|mut found| found.remove("public_view")).map(read_view).transpose()
    }

    /// Returns up to `limit` views of `pk` with their sort keys, newest first.
    async fn query_public_index<T: serde::de::DeserializeOwned>(
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
            let answer = request.send().await.map_err(|error| store_error("Query", &error))?;
            for mut found in answer.items.unwrap_or_default() {
                let sort_key = found.remove("public_sk").and_then(|sort_key| sort_key.as_s().cloned().ok());
                let Some((sort_key, view)) = sort_key.zip(found.remove("public_view")) else { continue };
                views.push((sort_key, read_view(view)?));
            }
            start = answer.last_evaluated_key;
            if start.is_none() || views.len() >= limit {
                return Ok(views);
            }
        }
    }
}
