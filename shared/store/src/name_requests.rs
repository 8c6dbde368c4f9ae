//! The names that wait for the platform's approval, listed in the platform's own partition. The list is written with the settings.

use crate::{StoreError, Table, item, keys, read};
use aws_sdk_dynamodb::types::TransactWriteItem;
use domain::ids::TenantId;
use domain::tenant::{ApprovedNames, Settings};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// What one tenant wants.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NameRequest {
    /// The tenant.
    pub tenant: TenantId,
    /// Since when it waits.
    pub since: Timestamp,
    /// The public name that it wants; `None` if none waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_name: Option<String>,
    /// The sender id that it wants; `None` if none waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sender_id: Option<String>,
    /// The names that are approved.
    #[serde(default)]
    pub approved: ApprovedNames,
}

impl Table {
    /// Returns a page of the names that wait, ordered by tenant, after the tenant `after`, and whether there are more.
    ///
    /// # Errors
    /// [`StoreError`] of the call.
    pub async fn name_requests(
        &self,
        after: Option<&str>,
        limit: usize,
    ) -> Result<(Vec<NameRequest>, bool), StoreError> {
        let platform = TenantId::operators();
        let (items, more) = self.page_of_ids(&platform, keys::name_request, after, limit).await?;
        let requests = items.into_iter().map(|found| read(found, "a name request"));
        Ok((requests.collect::<Result<_, StoreError>>()?, more))
    }

    /// Builds the write that lists what a tenant wants, or removes it from the list.
    pub(crate) fn name_request_write(
        &self,
        tenant: &TenantId,
        settings: &Settings,
    ) -> Result<TransactWriteItem, StoreError> {
        let (pk, sk) = (keys::tenant(&TenantId::operators()), keys::name_request(tenant.as_str()));
        let Some(since) = settings.name_requests.since else { return self.delete_action(&pk, &sk) };
        let request = NameRequest {
            tenant: tenant.clone(),
            since,
            public_name: settings.waiting_public_name().map(str::to_owned),
            sender_id: settings.waiting_sender_id().map(str::to_owned),
            approved: settings.approved.clone(),
        };
        self.put_action(item(&pk, &sk, &request, None)?, None, vec![])
    }
}
