//! What the template tells this function.

use domain::vocabulary::ChannelClass;

runtime::config! {
    /// The environment of `release`.
    pub struct Config {
        /// The table.
        pub table_name: String = "TABLE_NAME",
        /// The bulk lane of e-mail.
        pub email_bulk_queue_url: String = "DELIVER_EMAIL_BULK_QUEUE_URL",
        /// The bulk lane of SMS.
        pub sms_bulk_queue_url: String = "DELIVER_SMS_BULK_QUEUE_URL",
        /// The bulk lane of Slack and Teams.
        pub chat_bulk_queue_url: String = "DELIVER_CHAT_BULK_QUEUE_URL",
        /// The bulk lane of webhooks.
        pub webhook_bulk_queue_url: String = "DELIVER_WEBHOOK_BULK_QUEUE_URL",
        /// Where a reminder of announced work becomes an update of it.
        pub classify_queue_url: String = "CLASSIFY_QUEUE_URL",
        /// Days that rows of incidents are kept.
        pub retention_days: u32 = "RETENTION_DAYS",
    }
}

impl Config {
    /// The queue on which a channel's due work goes out: the bulk lane, so that retries never stand before a first alert.
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
