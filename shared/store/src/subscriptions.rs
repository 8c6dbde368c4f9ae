//! Compiled subscriptions: the settings and destinations of all tenants, by category and shard, in the order in which lookup reads
//! them.

use crate::{StoreError, Table, keys, read, sort_key, store_error, text};
use domain::ids::{SHARDS, TenantId};
use domain::subscriber::Subscriber;
use domain::tenant::Chunk;
use domain::vocabulary::Category;

/// A page of a shard's subscribers.
#[derive(Debug)]
pub struct SubscriberPage {
    /// Complete tenants, ordered by id.
    pub subscribers: Vec<Subscriber>,
    /// Tenant after which the next page begins; `None` on the shard's last page.
    pub next: Option<TenantId>,
}

impl Table {
    /// Returns one tenant's compiled subscription to a category.
    ///
    /// # Errors
    /// [`StoreError`] of the call.
    pub async fn subscriber(&self, tenant: &TenantId, category: Category) -> Result<Option<Subscriber>, StoreError> {
        let pk = keys::subscriptions(category, tenant.shard());
        let items = self.query_prefix(&pk, &format!("{tenant}#")).await?;
        let chunks = items.into_iter().map(|found| read(found, "a subscription")).collect::<Result<Vec<Chunk>, _>>()?;
        Ok(assemble(chunks).into_iter().next())
    }

    /// Returns the page of a shard's tenants after `after`: at most one DynamoDB page (1 MB), cut between two tenants.
    ///
    /// # Errors
    /// [`StoreError`] of the call.
    pub async fn subscribers(
        &self,
        category: Category,
        shard: u16,
        after: Option<&TenantId>,
    ) -> Result<SubscriberPage, StoreError> {
        let pk = keys::subscriptions(category, shard.min(SHARDS - 1));
        let from = after.map_or_else(|| "\u{1}".to_owned(), |tenant| format!("{tenant}#\u{10ffff}"));
        let request = self.client.query().table_name(&self.name).consistent_read(true);
        let request = request.key_condition_expression("pk = :pk AND sk > :from");
        let request = request.expression_attribute_values(":pk", text(&pk));
        let answer = request.expression_attribute_values(":from", text(&from)).send().await;
        let answer = answer.map_err(|error| store_error("Query", &error))?;
        let mut items = answer.items.unwrap_or_default();
        let mut next = None;
        if answer.last_evaluated_key.is_some() {
            // The last tenant may continue on the next page. It is left to the next page, unless it fills this page alone.
            let last = items.last().map(|item| tenant_of(sort_key(item)).to_owned()).unwrap_or_default();
            let whole = items.iter().position(|item| tenant_of(sort_key(item)) == last).unwrap_or(0);
            if whole > 0 {
                items.truncate(whole);
                next = items.last().map(|item| tenant_of(sort_key(item)).to_owned());
            } else {
                items = self.query_prefix(&pk, &format!("{last}#")).await?;
                next = Some(last);
            }
        }
        let chunks = items.into_iter().map(|found| read(found, "a subscription")).collect::<Result<Vec<Chunk>, _>>()?;
        let next = next.map(|id| TenantId::parse(&id)).transpose();
        let next = next.map_err(|error| StoreError::Corrupt { kind: "a subscription", detail: error.to_string() })?;
        Ok(SubscriberPage { subscribers: assemble(chunks), next })
    }

    /// Returns a tenant's chunks of one category.
    pub(crate) async fn chunks(&self, tenant: &TenantId, category: Category) -> Result<Vec<Chunk>, StoreError> {
        let pk = keys::subscriptions(category, tenant.shard());
        let items = self.query_prefix(&pk, &format!("{tenant}#")).await?;
        items.into_iter().map(|found| read(found, "a subscription")).collect()
    }
}

fn tenant_of(sort_key: &str) -> &str {
    sort_key.split('#').next().unwrap_or_default()
}

fn assemble(chunks: Vec<Chunk>) -> Vec<Subscriber> {
    let mut subscribers: Vec<Subscriber> = Vec::new();
    for chunk in chunks {
        match chunk.settings {
            Some(settings) => subscribers.push(Subscriber { settings, destinations: Vec::new() }),
            None if subscribers.last().is_none_or(|last| last.settings.tenant != chunk.tenant) => continue,
            None => {}
        }
        if let Some(last) = subscribers.last_mut() {
            last.destinations.extend(chunk.destinations.into_iter().map(|destination| (chunk.number, destination)));
        }
    }
    subscribers
}
