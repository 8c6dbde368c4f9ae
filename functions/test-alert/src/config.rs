//! What the template tells this function.

runtime::config! {
    /// The environment of `test-alert`.
    pub struct Config {
        /// The table.
        pub table_name: String = "TABLE_NAME",
        /// Where a test goes, as every event does.
        pub classify_queue_url: String = "CLASSIFY_QUEUE_URL",
        /// The From address of alerts: what a mail admin is to let through.
        pub email_from: String = "EMAIL_FROM",
        /// Days that rows of incidents are kept.
        pub retention_days: u32 = "RETENTION_DAYS",
    }
}
