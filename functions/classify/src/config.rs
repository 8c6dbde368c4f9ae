//! Configuration from the environment, which `template.yaml` sets.

runtime::config! {
    /// The environment of `classify`.
    pub struct Config {
        /// Name of the DynamoDB table.
        pub table_name: String = "TABLE_NAME",
        /// URL of this function's own queue, to which warnings to the operators are sent.
        pub classify_queue_url: String = "CLASSIFY_QUEUE_URL",
        /// URL of the dead-letter queue for unprocessable messages.
        pub dead_letter_queue_url: String = "CLASSIFY_DEAD_LETTER_QUEUE_URL",
        /// URL of subscription-lookup's queue, to which routing jobs are sent.
        pub subscription_lookup_queue_url: String = "SUBSCRIPTION_LOOKUP_QUEUE_URL",
        /// The queue for the routing jobs of platform-wide incidents.
        pub subscription_lookup_bulk_queue_url: String = "SUBSCRIPTION_LOOKUP_BULK_QUEUE_URL",
        /// Number of subscription shards that one routing job covers: 1 to 64.
        pub shards_per_job: u16 = "SHARDS_PER_JOB",
        /// Days for which rows of an incident are kept after it is resolved.
        pub retention_days: u32 = "RETENTION_DAYS",
    }
}
