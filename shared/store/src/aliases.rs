//! Whose a source's dedup key is. PagerDuty's and Opsgenie's clients acknowledge and close by the key alone.

use crate::{StoreError, Table, failed, keys, number, text};
use aws_sdk_dynamodb::types::AttributeValue;
use domain::ids::{IntegrationId, Scope, TenantId};
use jiff::Timestamp;

/// How the platform is written among tenants, whose ids are in lower case.
const PLATFORM: &str = "P";

impl Table {
    /// Remembers that something was opened under this key for these, besides whom it was opened for before.
    ///
    /// # Errors
    /// [`StoreError`] of the call.
    pub async fn remember_alias(
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
        request.send().await.map(|_| ()).map_err(|error| failed("UpdateItem", &error))
    }

    /// For whom something was opened under this key; nobody where nothing was.
    ///
    /// # Errors
    /// [`StoreError`] of the call.
    pub async fn alias(
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
