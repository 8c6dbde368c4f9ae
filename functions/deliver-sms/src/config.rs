//! What the template tells this function.

runtime::config! {
    /// The environment of `deliver-sms`.
    pub struct Config {
        /// The table.
        pub table_name: String = "TABLE_NAME",
        /// The urgent lane.
        pub urgent_queue_url: String = "DELIVER_SMS_QUEUE_URL",
        /// The bulk lane.
        pub bulk_queue_url: String = "DELIVER_SMS_BULK_QUEUE_URL",
        /// Where poison goes.
        pub dead_letter_queue_url: String = "DELIVER_SMS_DEAD_LETTER_QUEUE_URL",
        /// Where the notice goes that a critical alert could not be delivered.
        pub classify_queue_url: String = "CLASSIFY_QUEUE_URL",
        /// Where it goes that a number's owner wants no more.
        pub feedback_queue_url: String = "FEEDBACK_QUEUE_URL",
        /// The KMS key that wraps the data keys.
        pub kms_key_id: String = "KMS_KEY_ID",
        /// The alphanumeric sender where the tenant registered none.
        pub sender_id: Option<String> = "SMS_SENDER_ID",
        /// Least milliseconds between two sends of one environment: the quota's share of it.
        pub send_interval_ms: u64 = "SMS_SEND_INTERVAL_MS",
        /// What links in messages begin with, without a slash at the end.
        pub public_base_url: String = "PUBLIC_BASE_URL",
        /// Days that rows of incidents are kept.
        pub retention_days: u32 = "RETENTION_DAYS",
    }
}
