//! What the template tells this function.

runtime::config! {
    /// The environment of `subscription-lookup`.
    pub struct Config {
        /// The table.
        pub table_name: String = "TABLE_NAME",
        /// Its own queue, for the next page.
        pub subscription_lookup_queue_url: String = "SUBSCRIPTION_LOOKUP_QUEUE_URL",
        /// Where poison goes.
        pub dead_letter_queue_url: String = "SUBSCRIPTION_LOOKUP_DEAD_LETTER_QUEUE_URL",
        /// E-mail of a tenant's own alerts.
        pub email_queue_url: String = "DELIVER_EMAIL_QUEUE_URL",
        /// E-mail of platform-wide fan-out.
        pub email_bulk_queue_url: String = "DELIVER_EMAIL_BULK_QUEUE_URL",
        /// SMS of a tenant's own alerts.
        pub sms_queue_url: String = "DELIVER_SMS_QUEUE_URL",
        /// SMS of platform-wide fan-out.
        pub sms_bulk_queue_url: String = "DELIVER_SMS_BULK_QUEUE_URL",
        /// Slack and Teams of a tenant's own alerts.
        pub chat_queue_url: String = "DELIVER_CHAT_QUEUE_URL",
        /// Slack and Teams of platform-wide fan-out.
        pub chat_bulk_queue_url: String = "DELIVER_CHAT_BULK_QUEUE_URL",
        /// Webhooks of a tenant's own alerts.
        pub webhook_queue_url: String = "DELIVER_WEBHOOK_QUEUE_URL",
        /// Webhooks of platform-wide fan-out.
        pub webhook_bulk_queue_url: String = "DELIVER_WEBHOOK_BULK_QUEUE_URL",
        /// Days that rows of incidents are kept.
        pub retention_days: u32 = "RETENTION_DAYS",
    }
}

impl Config {
    /// The queue of a channel: the urgent lane for a tenant's own alert, the bulk lane for what everybody is told.
    #[must_use]
    pub fn queue(&self, class: domain::vocabulary::ChannelClass, bulk: bool) -> &str {
        use domain::vocabulary::ChannelClass::{Chat, Email, Sms, Webhook};
        match (class, bulk) {
            (Email, false) => &self.email_queue_url,
            (Email, true) => &self.email_bulk_queue_url,
            (Sms, false) => &self.sms_queue_url,
            (Sms, true) => &self.sms_bulk_queue_url,
            (Chat, false) => &self.chat_queue_url,
            (Chat, true) => &self.chat_bulk_queue_url,
            (Webhook, false) => &self.webhook_queue_url,
            (Webhook, true) => &self.webhook_bulk_queue_url,
        }
    }
}
