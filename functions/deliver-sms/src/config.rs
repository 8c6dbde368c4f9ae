//! Configuration from the environment, which `template.yaml` sets.

runtime::config! {
    /// The environment of `deliver-sms`.
    pub struct Config {
        /// The DynamoDB table's name.
        pub table_name: String = "TABLE_NAME",
        /// The queue of the urgent lane: a tenant's own alerts.
        pub urgent_queue_url: String = "DELIVER_SMS_QUEUE_URL",
        /// The queue of the bulk lane: platform-wide alerts and retries.
        pub bulk_queue_url: String = "DELIVER_SMS_BULK_QUEUE_URL",
        /// The dead-letter queue for unprocessable messages.
        pub dead_letter_queue_url: String = "DELIVER_SMS_DEAD_LETTER_QUEUE_URL",
        /// The queue of `classify`, for notices about undelivered critical alerts and failing endpoints.
        pub classify_queue_url: String = "CLASSIFY_QUEUE_URL",
        /// The queue of `feedback`, for opt-outs.
        pub feedback_queue_url: String = "FEEDBACK_QUEUE_URL",
        /// The alphanumeric sender id for tenants that registered none.
        pub sender_id: Option<String> = "SMS_SENDER_ID",
        /// The most message parts that the whole stack sends per day (UTC).
        pub parts_per_day: u32 = "SMS_DAILY_PARTS",
        /// Minimum milliseconds between two sends of one execution environment: its share of the account's rate quota.
        pub send_interval_ms: u64 = "SMS_SEND_INTERVAL_MS",
        /// The base URL of links in messages, without a trailing slash.
        pub public_base_url: String = "PUBLIC_BASE_URL",
        /// Days that incident rows are kept.
        pub retention_days: u32 = "RETENTION_DAYS",
        /// How many shards of the due index are written: 64, or 8 until no function of release 0.1.0 reads it any more.
        pub due_shards: u16 = "DUE_SHARDS",
    }
}
