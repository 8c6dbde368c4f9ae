//! What the template tells this function.

runtime::config! {
    /// The environment of `classify`.
    pub struct Config {
        /// Name of the DynamoDB table.
        pub table_name: String = "TABLE_NAME",
        /// URL of its own queue, for warnings to the operators.
        pub classify_queue_url: String = "CLASSIFY_QUEUE_URL",
        /// URL of the dead-letter queue for unprocessable messages.
        pub dead_letter_queue_url: String = "CLASSIFY_DEAD_LETTER_QUEUE_URL",
        /// Where routing jobs go.
        pub subscription_lookup_queue_url: String = "SUBSCRIPTION_LOOKUP_QUEUE_URL",
        /// How many of the 64 subscription shards one routing job covers.
        pub shards_per_job: u16 = "SHARDS_PER_JOB",
        /// Days that rows of incidents are kept.
        pub retention_days: u32 = "RETENTION_DAYS",
    }
}
