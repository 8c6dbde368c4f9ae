//! Addresses to which nothing is sent, whichever tenant asks. An item names no address: its key is the address's hash.

use crate::{StoreError, Table, item, keys, number, read, store_error, text};
use aws_sdk_dynamodb::types::ReturnValue;
use domain::ids::SuppressionId;
use domain::suppression::AddressSuppression;

impl Table {
    /// Returns why nothing is sent to an address; `None` if it is not suppressed.
    ///
    /// # Errors
    /// [`StoreError`] of the call.
    pub async fn address_suppression(&self, id: &SuppressionId) -> Result<Option<AddressSuppression>, StoreError> {
        match self.get(&keys::suppression(id), keys::SUPPRESSED_ADDRESS).await? {
            Some(found) => Ok(Some(read(found, "a suppression")?)),
            None => Ok(None),
        }
    }

    /// Suppresses an address. One that is suppressed already keeps its reason, unless [its owner says so](AddressSuppression::replaced_by).
    ///
    /// # Errors
    /// [`StoreError`] of the call.
    pub async fn suppress_address(
        &self,
        id: &SuppressionId,
        suppression: &AddressSuppression,
    ) -> Result<(), StoreError> {
        let entry = item(&keys::suppression(id), keys::SUPPRESSED_ADDRESS, suppression, None)?;
        let Some(found) = self.put_new(entry).await? else { return Ok(()) };
        let before: AddressSuppression = read(found, "a suppression")?;
        let Some(after) = before.replaced_by(suppression) else { return Ok(()) };
        // If its owner is asked at the same time, the reason stays; the address is suppressed in any case.
        self.put_next_version(id, &after).await.map(drop)
    }

    /// Records that the owner of a suppressed address is asked again; `after` is [`AddressSuppression::asked_at`]. Returns `false` if the
    /// suppression was lifted or changed meanwhile.
    ///
    /// # Errors
    /// [`StoreError`] of the call.
    pub async fn record_resubscription_request(
        &self,
        id: &SuppressionId,
        after: &AddressSuppression,
    ) -> Result<bool, StoreError> {
        self.put_next_version(id, after).await
    }

    /// Stores a suppression over the version before it. Returns `false` if that is no longer there.
    async fn put_next_version(&self, id: &SuppressionId, after: &AddressSuppression) -> Result<bool, StoreError> {
        let entry = item(&keys::suppression(id), keys::SUPPRESSED_ADDRESS, after, None)?;
        let before = vec![(":before", number(after.version.saturating_sub(1)))];
        Ok(self.put_if(entry, "version = :before", before).await?.is_none())
    }

    /// Lifts the suppression of an address. Returns whether it was suppressed.
    ///
    /// # Errors
    /// [`StoreError`] of the call.
    pub async fn lift_suppression(&self, id: &SuppressionId) -> Result<bool, StoreError> {
        let request = self.client.delete_item().table_name(&self.name).key("pk", text(&keys::suppression(id)));
        let request = request.key("sk", text(keys::SUPPRESSED_ADDRESS)).return_values(ReturnValue::AllOld);
        let deleted = request.send().await.map_err(|error| store_error("DeleteItem", &error))?;
        Ok(deleted.attributes.is_some())
    }
}
