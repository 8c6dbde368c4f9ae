//! What the template tells this function.

use crate::origin::Source;

runtime::config! {
    /// The environment of `dead-letter`.
    pub struct Config {
        /// The table.
        pub table_name: String = "TABLE_NAME",
        /// The key that wraps the data keys.
        pub kms_key_id: String = "KMS_KEY_ID",
        /// intake's queue.
        pub intake_queue_url: String = "INTAKE_QUEUE_URL",
        /// classify's queue.
        pub classify_queue_url: String = "CLASSIFY_QUEUE_URL",
        /// subscription-lookup's queue.
        pub subscription_lookup_queue_url: String = "SUBSCRIPTION_LOOKUP_QUEUE_URL",
        /// deliver-email's urgent lane.
        pub email_queue_url: String = "DELIVER_EMAIL_QUEUE_URL",
        /// deliver-email's bulk lane.
        pub email_bulk_queue_url: String = "DELIVER_EMAIL_BULK_QUEUE_URL",
        /// deliver-sms's urgent lane.
        pub sms_queue_url: String = "DELIVER_SMS_QUEUE_URL",
        /// deliver-sms's bulk lane.
        pub sms_bulk_queue_url: String = "DELIVER_SMS_BULK_QUEUE_URL",
        /// deliver-chat's urgent lane.
        pub chat_queue_url: String = "DELIVER_CHAT_QUEUE_URL",
        /// deliver-chat's bulk lane.
        pub chat_bulk_queue_url: String = "DELIVER_CHAT_BULK_QUEUE_URL",
        /// deliver-webhook's urgent lane.
        pub webhook_queue_url: String = "DELIVER_WEBHOOK_QUEUE_URL",
        /// deliver-webhook's bulk lane.
        pub webhook_bulk_queue_url: String = "DELIVER_WEBHOOK_BULK_QUEUE_URL",
        /// feedback's queue.
        pub feedback_queue_url: String = "FEEDBACK_QUEUE_URL",
        /// Days that rows of incidents are kept.
        pub retention_days: u32 = "RETENTION_DAYS",
    }
}

impl Config {
    /// Every queue that letters come from and go back to; of a function's two lanes the urgent one first.
    pub(crate) fn sources(&self) -> Vec<Source> {
        [
            ("intake", &self.intake_queue_url),
            ("classify", &self.classify_queue_url),
            ("subscription-lookup", &self.subscription_lookup_queue_url),
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
        .map(|(function, url)| Source { function, url: url.clone() })
        .collect()
    }
}
