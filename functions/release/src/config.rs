//! Configuration from the environment, which `template.yaml` sets.

use domain::vocabulary::ChannelClass;

runtime::config! {
    /// The environment of `release`.
    pub struct Config {
        /// The DynamoDB table's name.
        pub table_name: String = "TABLE_NAME",
        /// The queue of the bulk lane of e-mail.
        pub email_bulk_queue_url: String = "DELIVER_EMAIL_BULK_QUEUE_URL",
        /// The queue of the bulk lane of SMS.
        pub sms_bulk_queue_url: String = "DELIVER_SMS_BULK_QUEUE_URL",
        /// The queue of the bulk lane of Slack and Teams.
        pub chat_bulk_queue_url: String = "DELIVER_CHAT_BULK_QUEUE_URL",
        /// The queue of the bulk lane of webhooks.
        pub webhook_bulk_queue_url: String = "DELIVER_WEBHOOK_BULK_QUEUE_URL",
        /// The queue of `classify`, which turns a maintenance reminder into an update of its incident.
        pub classify_queue_url: String = "CLASSIFY_QUEUE_URL",
        /// Days that incident rows are kept.
        pub retention_days: u32 = "RETENTION_DAYS",
        /// How many shards of the due index are written: 64, or 8 until no function of release 0.1.0 reads it any more.
        pub due_shards: u16 = "DUE_SHARDS",
    }
}

impl Config {
    /// Returns the queue to which due deliveries of a channel are released: its bulk lane, so that retries never delay first alerts.
    #[must_use]
    pub fn queue(&self, class: ChannelClass) -> &str {
        match class {
            ChannelClass::Email => &self.email_bulk_queue_url,
            ChannelClass::Sms => &self.sms_bulk_queue_url,
            ChannelClass::Chat => &self.chat_bulk_queue_url,
            ChannelClass::Webhook => &self.webhook_bulk_queue_url,
        }
    }
}
