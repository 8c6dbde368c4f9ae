//! Configuration from the environment, which `template.yaml` sets.

runtime::config! {
    /// The environment of `feedback`.
    pub struct Config {
        /// Name of the DynamoDB table.
        pub table_name: String = "TABLE_NAME",
        /// URL of the queue of SES notifications and lines of SNS's delivery log.
        pub queue_url: String = "FEEDBACK_QUEUE_URL",
        /// URL of the dead-letter queue, for messages that cannot be processed.
        pub dead_letter_queue_url: String = "FEEDBACK_DEAD_LETTER_QUEUE_URL",
        /// URL of classify's queue, to which notices about suppressed contacts are sent.
        pub classify_queue_url: String = "CLASSIFY_QUEUE_URL",
        /// Days for which rows of an incident are kept after it is resolved.
        pub retention_days: u32 = "RETENTION_DAYS",
    }
}
