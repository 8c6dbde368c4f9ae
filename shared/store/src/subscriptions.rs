//! Compiled subscriptions: the settings and destinations of all tenants, by category and shard, in the order in which lookup reads
//! them.

use crate::{StoreError, Table, keys, read, sort_key, store_error, text};
use domain::ids::{SHARDS, TenantId};
use domain::subscriber::Subscriber;
use domain::tenant::Chunk;
use domain::vocabulary::Category;
use std::collections::BTreeSet;

/// A page of a shard's subscribers.
#[derive(Debug)]
pub struct SubscriberPage {
    /// Complete tenants, ordered by id.
    pub subscribers: Vec<Subscriber>,
    /// Tenants with a chunk that is invalid or missing. They hold up none of the others.
    pub unreadable: BTreeSet<TenantId>,
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
        let (subscribers, without_settings) = assemble(chunks);
        match without_settings.is_empty() {
            true => Ok(subscribers.into_iter().next()),
            false => {
                Err(StoreError::Corrupt { kind: "a subscription", detail: "its first chunk is missing".to_owned() })
            }
        }
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
        if let (Some(last), true) = (items.last(), answer.last_evaluated_key.is_some()) {
            // The last tenant may continue on the next page. It is left to the next page, unless it fills this page alone.
            let last = tenant_of(sort_key(last))?;
            let of_last = format!("{last}#");
            let whole = items.iter().position(|item| sort_key(item).starts_with(&of_last)).unwrap_or(0);
            if whole > 0 {
                items.truncate(whole);
                next = items.last().map(|item| tenant_of(sort_key(item))).transpose()?;
            } else {
                items = self.query_prefix(&pk, &of_last).await?;
                next = Some(last);
            }
        }
        let (mut chunks, mut unreadable) = (Vec::new(), BTreeSet::new());
        for found in items {
            let tenant = tenant_of(sort_key(&found))?;
            match read::<Chunk>(found, "a subscription") {
                Ok(chunk) => chunks.push(chunk),
                Err(error) => {
                    tracing::error!(%tenant, %error, "a subscription cannot be read");
                    unreadable.insert(tenant);
                }
            }
        }
        let (mut subscribers, without_settings) = assemble(chunks);
        unreadable.extend(without_settings);
        subscribers.retain(|one| !unreadable.contains(&one.settings.tenant));
        Ok(SubscriberPage { subscribers, unreadable, next })
    }

    /// Returns a tenant's chunks of one category.
    pub(crate) async fn chunks(&self, tenant: &TenantId, category: Category) -> Result<Vec<Chunk>, StoreError> {
        let pk = keys::subscriptions(category, tenant.shard());
        let items = self.query_prefix(&pk, &format!("{tenant}#")).await?;
        items.into_iter().map(|found| read(found, "a subscription")).collect()
    }
}

/// Returns the tenant that the sort key of a subscription or a plan begins with.
pub(crate) fn tenant_of(sort_key: &str) -> Result<TenantId, StoreError> {
    TenantId::parse(sort_key.split('#').next().unwrap_or_default())
        .map_err(|error| StoreError::Corrupt { kind: "a sort key", detail: error.to_string() })
}

/// Puts chunks together. Returns the tenants whose first chunk, which has the settings, is missing apart.
fn assemble(chunks: Vec<Chunk>) -> (Vec<Subscriber>, BTreeSet<TenantId>) {
    let (mut subscribers, mut without_settings) = (Vec::<Subscriber>::new(), BTreeSet::new());
    for chunk in chunks {
        if let Some(settings) = chunk.settings {
            subscribers.push(Subscriber { settings, destinations: Vec::new() });
        }
        match subscribers.last_mut().filter(|last| last.settings.tenant == chunk.tenant) {
            Some(last) => {
                last.destinations.extend(chunk.destinations.into_iter().map(|destination| (chunk.number, destination)));
            }
            None => {
                without_settings.insert(chunk.tenant);
            }
        }
    }
    (subscribers, without_settings)
}
