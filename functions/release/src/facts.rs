//! Reads everything that the decisions about a page of due entries depend on, each thing once.

use crate::{IN_FLIGHT, ReleaseFunction};
use domain::due::DueItem;
use domain::ids::{IntegrationId, RecipientId, Scope, TenantId};
use domain::tenant::Destination;
use domain::vocabulary::Category;
use futures::stream::{self, StreamExt};
use pipeline::release::facts::{FactKeys, PageFacts, subscription_category};
use std::collections::{BTreeMap, BTreeSet};
use store::StoreError;

impl ReleaseFunction {
    /// Reads the facts about a page of due entries.
    pub(crate) async fn read_facts(&self, items: &[DueItem]) -> PageFacts {
        let keys = FactKeys::of(items);
        let incidents = read_all(keys.incidents, |id| async { self.table.incident(&id).await.map(|f| (id, f)) }).await;
        let subscribed: BTreeSet<(TenantId, Category)> = keys
            .replanned
            .iter()
            .filter_map(|(id, tenant)| Some((tenant.clone(), subscription_category(incidents.get(id)?.as_ref()?))))
            .collect();
        let maintenance = incidents.values().flatten().filter(|incident| incident.maintenance.is_some());
        let maintenance = maintenance.map(|incident| incident.id.clone()).collect();
        // One kind after the other: each makes as many calls at once as the table should get.
        PageFacts {
            settings: read_all(keys.tenants, |tenant| async {
                self.table.settings(&tenant).await.map(|f| (tenant, f))
            })
            .await,
            suppressed_incidents: read_all(maintenance, |id| async {
                self.table.incidents_suppressed_by(&id).await.map(|found| (id, found))
            })
            .await,
            incidents,
            subscribers: read_all(subscribed, |(tenant, category)| async move {
                self.table.subscriber(&tenant, category).await.map(|found| ((tenant, category), found))
            })
            .await,
            windows: read_all(keys.suppressed, |tenant| async move {
                self.table.maintenance_windows(&Scope::Tenant(tenant.clone())).await.map(|found| (tenant, found))
            })
            .await,
            plans: read_all(keys.plans, |(id, tenant)| async move {
                let plans = self.table.plans_of(&id, &tenant).await?;
                let known = self.table.with_rows(&id, &tenant, plans).await?;
                Ok(((id, tenant), known))
            })
            .await,
            updates: read_all(keys.updates, |(id, number)| async move {
                self.table.update(&id, number).await.map(|found| ((id, number), found))
            })
            .await,
            destinations: read_all(keys.destinations, |(tenant, name)| async {
                self.read_destination(&tenant, &name).await.map(|found| ((tenant, name), found))
            })
            .await,
        }
    }

    async fn read_destination(&self, tenant: &TenantId, name: &str) -> Result<Option<Destination>, StoreError> {
        if let Some(id) = RecipientId::parse(name) {
            let found = self.table.recipient(tenant, &id).await?;
            return Ok(found.map(|recipient| Destination::Recipient(Box::new(recipient))));
        }
        let Some(id) = IntegrationId::parse(name) else { return Ok(None) };
        let found = self.table.integration(tenant, &id).await?;
        Ok(found.map(|integration| Destination::Integration(Box::new(integration))))
    }
}

/// Reads many things concurrently. What cannot be read is logged, and missing from the result.
async fn read_all<K, V, F, Fut>(keys: BTreeSet<K>, read: F) -> BTreeMap<K, V>
where
    K: Ord,
    F: FnMut(K) -> Fut,
    Fut: Future<Output = Result<(K, V), StoreError>>,
{
    let read = stream::iter(keys).map(read).buffer_unordered(IN_FLIGHT);
    read.filter_map(|found| async move {
        found
            .inspect_err(
                |error| tracing::error!(%error, "cannot read what a due delivery depends on; the next run tries again"),
            )
            .ok()
    })
    .collect()
    .await
}
