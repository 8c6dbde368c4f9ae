//! Configuration from the environment, which `template.yaml` sets.

runtime::config! {
    /// The environment of `deliver-chat`.
    pub struct Config {
        /// The DynamoDB table's name.
        pub table_name: String = "TABLE_NAME",
        /// The queue of the urgent lane: a tenant's own alerts.
        pub urgent_queue_url: String = "DELIVER_CHAT_QUEUE_URL",
        /// The queue of the bulk lane: platform-wide alerts and retries.
        pub bulk_queue_url: String = "DELIVER_CHAT_BULK_QUEUE_URL",
        /// The dead-letter queue for unprocessable messages.
        pub dead_letter_queue_url: String = "DELIVER_CHAT_DEAD_LETTER_QUEUE_URL",
        /// The queue of `classify`, for notices about undelivered critical alerts and failing endpoints.
        pub classify_queue_url: String = "CLASSIFY_QUEUE_URL",
        /// An exact `host:port` that the SSRF guard allows; only the local stage may set it.
        pub outbound_exceptions: Option<String> = "OUTBOUND_EXCEPTIONS",
        /// An additional trusted root certificate; only the local stage may set it.
        pub outbound_extra_root: Option<String> = "OUTBOUND_EXTRA_ROOT",
        /// The base URL of links in messages, without a trailing slash.
        pub public_base_url: String = "PUBLIC_BASE_URL",
        /// Days that incident rows are kept.
        pub retention_days: u32 = "RETENTION_DAYS",
        /// How many shards of the due index are written: 64, or 8 until no function of release 0.1.0 reads it any more.
        pub due_shards: u16 = "DUE_SHARDS",
    }
}
