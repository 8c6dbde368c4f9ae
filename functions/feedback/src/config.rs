//! What the template tells this function.

runtime::config! {
    /// The environment of `feedback`.
    pub struct Config {
        /// The table.
        pub table_name: String = "TABLE_NAME",
        /// What SES and SNS say.
        pub queue_url: String = "FEEDBACK_QUEUE_URL",
        /// Where poison goes.
        pub dead_letter_queue_url: String = "FEEDBACK_DEAD_LETTER_QUEUE_URL",
        /// Where the notice goes that a contact gets nothing more.
        pub classify_queue_url: String = "CLASSIFY_QUEUE_URL",
        /// Days that rows of incidents are kept.
        pub retention_days: u32 = "RETENTION_DAYS",
    }
}
