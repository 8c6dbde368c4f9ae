//! What the template tells this function.

runtime::config! {
    /// The environment of `intake`.
    pub struct Config {
        /// The table.
        pub table_name: String = "TABLE_NAME",
        /// Where CloudWatch alarms wait.
        pub queue_url: String = "INTAKE_QUEUE_URL",
        /// Where poison goes.
        pub dead_letter_queue_url: String = "INTAKE_DEAD_LETTER_QUEUE_URL",
        /// Where accepted events go.
        pub classify_queue_url: String = "CLASSIFY_QUEUE_URL",
        /// Days that rows of incidents are kept.
        pub retention_days: u32 = "RETENTION_DAYS",
    }
}
