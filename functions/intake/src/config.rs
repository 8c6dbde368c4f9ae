//! Configuration from the environment, which `template.yaml` sets.

runtime::config! {
    /// The environment of `intake`.
    pub struct Config {
        /// Name of the DynamoDB table.
        pub table_name: String = "TABLE_NAME",
        /// URL of the queue of CloudWatch alarms.
        pub queue_url: String = "INTAKE_QUEUE_URL",
        /// URL of the dead-letter queue, for messages that cannot be processed.
        pub dead_letter_queue_url: String = "INTAKE_DEAD_LETTER_QUEUE_URL",
        /// URL of classify's queue, to which accepted events are sent.
        pub classify_queue_url: String = "CLASSIFY_QUEUE_URL",
        /// Days for which rows of an incident are kept after it is resolved.
        pub retention_days: u32 = "RETENTION_DAYS",
    }
}
