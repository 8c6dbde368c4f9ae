//! Compiled subscriptions: facts of every tenant, by category and shard, in the order in which routing reads them.

use crate::{StoreError, Table, failed, keys, read, sort_key, text};
use domain::ids::{SHARDS, TenantId};
use domain::tenant::{Chunk, Destination, Settings};
use domain::vocabulary::Category;

/// A tenant as routing sees it.
#[derive(Clone, Debug)]
pub struct Subscriber {
    /// Its settings.
    pub settings: Settings,
    /// Its destinations, in the order of their chunks, each with its chunk's number.
    pub destinations: Vec<(u32, Destination)>,
}

/// A page of a shard.
#[derive(Debug)]
pub struct Page {
    /// Whole tenants, in order.
    pub subscribers: Vec<Subscriber>,
    /// The tenant after which the next page begins; `None` at the shard's end.
    pub next: Option<TenantId>,
}

impl Table {
    /// One tenant's compiled subscription.
    ///
    /// # Errors
    /// [`StoreError`] of the call.
    pub async fn subscriber(&self, tenant: &TenantId, category: Category) -> Result<Option<Subscriber>, StoreError> {
        let pk = keys::subscriptions(category, tenant.shard());
        let items = self.query_prefix(&pk, &format!("{tenant}#")).await?;
        let chunks = items.into_iter().map(|found| read(found, "a subscription")).collect::<Result<Vec<Chunk>, _>>()?;
        Ok(assemble(chunks).into_iter().next())
    }

    /// A page of a shard's tenants after `after`: one megabyte at most, cut at a tenant's end.
    ///
    /// # Errors
    /// [`StoreError`] of the call.
    pub async fn subscribers(
        &self,
        category: Category,
        shard: u16,
        after: Option<&TenantId>,
    ) -> Result<Page, StoreError> {
        let pk = keys::subscriptions(category, shard.min(SHARDS - 1));
        let from = after.map_or_else(|| "\u{1}".to_owned(), |tenant| format!("{tenant}#\u{10ffff}"));
        let request = self.client.query().table_name(&self.name).consistent_read(true);
        let request = request.key_condition_expression("pk = :pk AND sk > :from");
        let request = request.expression_attribute_values(":pk", text(&pk));
        let answer = request.expression_attribute_values(":from", text(&from)).send().await;
        let answer = answer.map_err(|error| failed("Query", &error))?;
        let mut items = answer.items.unwrap_or_default();
        let mut next = None;
        if answer.last_evaluated_key.is_some() {
            // The last tenant of a full page may go on in the next one: it is left to it, unless it fills a page alone.
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
        Ok(Page { subscribers: assemble(chunks), next })
    }

    /// The chunks of one tenant in one category.
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
