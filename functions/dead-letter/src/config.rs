//! Configuration from the environment, which `template.yaml` sets.

use crate::origin::SourceQueue;

runtime::config! {
    /// The environment of `dead-letter`.
    pub struct Config {
        /// Name of the DynamoDB table.
        pub table_name: String = "TABLE_NAME",
        /// URL of intake's queue.
        pub intake_queue_url: String = "INTAKE_QUEUE_URL",
        /// URL of classify's queue.
        pub classify_queue_url: String = "CLASSIFY_QUEUE_URL",
        /// URL of subscription-lookup's queue.
        pub subscription_lookup_queue_url: String = "SUBSCRIPTION_LOOKUP_QUEUE_URL",
        /// The bulk queue of subscription-lookup.
        pub subscription_lookup_bulk_queue_url: String = "SUBSCRIPTION_LOOKUP_BULK_QUEUE_URL",
        /// URL of deliver-email's urgent queue.
        pub email_queue_url: String = "DELIVER_EMAIL_QUEUE_URL",
        /// URL of deliver-email's bulk queue.
        pub email_bulk_queue_url: String = "DELIVER_EMAIL_BULK_QUEUE_URL",
        /// URL of deliver-sms's urgent queue.
        pub sms_queue_url: String = "DELIVER_SMS_QUEUE_URL",
        /// URL of deliver-sms's bulk queue.
        pub sms_bulk_queue_url: String = "DELIVER_SMS_BULK_QUEUE_URL",
        /// URL of deliver-chat's urgent queue.
        pub chat_queue_url: String = "DELIVER_CHAT_QUEUE_URL",
        /// URL of deliver-chat's bulk queue.
        pub chat_bulk_queue_url: String = "DELIVER_CHAT_BULK_QUEUE_URL",
        /// URL of deliver-webhook's urgent queue.
        pub webhook_queue_url: String = "DELIVER_WEBHOOK_QUEUE_URL",
        /// URL of deliver-webhook's bulk queue.
        pub webhook_bulk_queue_url: String = "DELIVER_WEBHOOK_BULK_QUEUE_URL",
        /// URL of feedback's queue.
        pub feedback_queue_url: String = "FEEDBACK_QUEUE_URL",
        /// Days for which rows of an incident are kept after it is resolved.
        pub retention_days: u32 = "RETENTION_DAYS",
    }
}

impl Config {
    /// The queues whose messages can become dead letters. Of a function's two lanes, the urgent one is first.
    pub(crate) fn sources(&self) -> Vec<SourceQueue> {
        [
            ("intake", &self.intake_queue_url),
            ("classify", &self.classify_queue_url),
            ("subscription-lookup", &self.subscription_lookup_queue_url),
            ("subscription-lookup", &self.subscription_lookup_bulk_queue_url),
            ("deliver-email", &self.email_queue_url),
            ("deliver-email", &self.email_bulk_queue_url),
            ("deliver-sms", &self.sms_queue_url),
            ("deliver-sms", &self.sms_bulk_queue_url),
            ("deliver-chat", &self.chat_queue_url),
            ("deliver-chat", &self.chat_bulk_queue_url),
            ("deliver-webhook", &self.webhook_queue_url),
            ("deliver-webhook", &self.webhook_bulk_queue_url),
            ("feedback", &self.feedback_queue_url),
        ]
        .into_iter()
        .map(|(function, url)| SourceQueue { function, url: url.clone() })
        .collect()
    }
}
