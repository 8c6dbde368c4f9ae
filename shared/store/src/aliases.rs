//! The scopes under which a source's dedup key has opened incidents.
//!
//! PagerDuty's and Opsgenie's clients acknowledge and close an incident with nothing but its dedup key.

use crate::{StoreError, Table, keys, number, store_error, text};
use aws_sdk_dynamodb::types::AttributeValue;
use domain::ids::{IntegrationId, Scope, TenantId};
use jiff::Timestamp;

/// The platform's entry in the set of scopes. Upper case, because tenant ids are lower case.
const PLATFORM: &str = "P";

impl Table {
    /// Adds scopes to those under which a source's dedup key has opened incidents.
    ///
    /// # Errors
    /// [`StoreError`] of the call.
    pub async fn add_alias_scopes(
        &self,
        integration: &IntegrationId,
        source: &str,
        dedup_key: &str,
        scopes: &[Scope],
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let names: Vec<String> =
            scopes.iter().map(|scope| scope.tenant().map_or(PLATFORM, TenantId::as_str).to_owned()).collect();
        if names.is_empty() {
            return Ok(());
        }
        let request = self.client.update_item().table_name(&self.name);
        let request = request.key("pk", text(&keys::alias(integration.as_str(), source, dedup_key)));
        let request =
            request.key("sk", text("ALIAS")).update_expression("ADD scopes :scopes SET expires_at = :expires");
        let request = request.expression_attribute_values(":scopes", AttributeValue::Ss(names));
        let request = request.expression_attribute_values(":expires", number(self.expiry(now)));
        request.send().await.map(|_| ()).map_err(|error| store_error("UpdateItem", &error))
    }

    /// Returns the scopes under which a source's dedup key has opened incidents; empty if there are none.
    ///
    /// # Errors
    /// [`StoreError`] of the call.
    pub async fn alias_scopes(
        &self,
        integration: &IntegrationId,
        source: &str,
        dedup_key: &str,
    ) -> Result<Vec<Scope>, StoreError> {
        let found = self.get(&keys::alias(integration.as_str(), source, dedup_key), "ALIAS").await?;
        let names = found.and_then(|item| item.get("scopes")?.as_ss().ok().cloned()).unwrap_or_default();
        let scope = |name: &String| match name.as_str() {
            PLATFORM => Some(Scope::Platform),
            tenant => TenantId::parse(tenant).ok().map(Scope::Tenant),
        };
        Ok(names.iter().filter_map(scope).collect())
    }
}
