//! Environment variables that the template sets.

runtime::config! {
    /// Configuration of `test-alert`.
    pub struct Config {
        /// Name of the DynamoDB table.
        pub table_name: String = "TABLE_NAME",
        /// Queue that test events go to, as all events do.
        pub classify_queue_url: String = "CLASSIFY_QUEUE_URL",
        /// The From address of alert e-mails, which mail admins allow-list.
        pub email_from: String = "EMAIL_FROM",
        /// Days that items of incidents are kept.
        pub retention_days: u32 = "RETENTION_DAYS",
    }
}
