//! Configuration from the environment, which `template.yaml` sets.

use contracts::queue::Lane;
use domain::vocabulary::ChannelClass;

runtime::config! {
    /// The environment of `subscription-lookup`.
    pub struct Config {
        /// The DynamoDB table's name.
        pub table_name: String = "TABLE_NAME",
        /// The function's queue of jobs for single tenants.
        pub subscription_lookup_queue_url: String = "SUBSCRIPTION_LOOKUP_QUEUE_URL",
        /// Its queue of platform-wide jobs, on which it also continues them.
        pub subscription_lookup_bulk_queue_url: String = "SUBSCRIPTION_LOOKUP_BULK_QUEUE_URL",
        /// The dead-letter queue for unprocessable messages.
        pub dead_letter_queue_url: String = "SUBSCRIPTION_LOOKUP_DEAD_LETTER_QUEUE_URL",
        /// The queue for e-mail of a tenant's own alerts.
        pub email_queue_url: String = "DELIVER_EMAIL_QUEUE_URL",
        /// The queue for e-mail of platform-wide alerts.
        pub email_bulk_queue_url: String = "DELIVER_EMAIL_BULK_QUEUE_URL",
        /// The queue for SMS of a tenant's own alerts.
        pub sms_queue_url: String = "DELIVER_SMS_QUEUE_URL",
        /// The queue for SMS of platform-wide alerts.
        pub sms_bulk_queue_url: String = "DELIVER_SMS_BULK_QUEUE_URL",
        /// The queue for Slack and Teams of a tenant's own alerts.
        pub chat_queue_url: String = "DELIVER_CHAT_QUEUE_URL",
        /// The queue for Slack and Teams of platform-wide alerts.
        pub chat_bulk_queue_url: String = "DELIVER_CHAT_BULK_QUEUE_URL",
        /// The queue for webhooks of a tenant's own alerts.
        pub webhook_queue_url: String = "DELIVER_WEBHOOK_QUEUE_URL",
        /// The queue for webhooks of platform-wide alerts.
        pub webhook_bulk_queue_url: String = "DELIVER_WEBHOOK_BULK_QUEUE_URL",
        /// Days that incident rows are kept.
        pub retention_days: u32 = "RETENTION_DAYS",
        /// How many shards of the due index are written: 64, or 8 until no function of release 0.1.0 reads it any more.
        pub due_shards: u16 = "DUE_SHARDS",
    }
}

impl Config {
    /// Returns the queue of a channel: the bulk lane for platform-wide alerts, the urgent lane for a tenant's own.
    #[must_use]
    pub fn queue(&self, class: ChannelClass, lane: Lane) -> &str {
        use ChannelClass::{Chat, Email, Sms, Webhook};
        match (class, lane) {
            (Email, Lane::Urgent) => &self.email_queue_url,
            (Email, Lane::Bulk) => &self.email_bulk_queue_url,
            (Sms, Lane::Urgent) => &self.sms_queue_url,
            (Sms, Lane::Bulk) => &self.sms_bulk_queue_url,
            (Chat, Lane::Urgent) => &self.chat_queue_url,
            (Chat, Lane::Bulk) => &self.chat_bulk_queue_url,
            (Webhook, Lane::Urgent) => &self.webhook_queue_url,
            (Webhook, Lane::Bulk) => &self.webhook_bulk_queue_url,
        }
    }
}
