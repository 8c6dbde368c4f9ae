//! What the template tells this function.

runtime::config! {
    /// The environment of `intake`.
    pub struct Config {
        /// The table.
        pub table_name: String = "TABLE_NAME",
        /// Where accepted events go.
        pub classify_queue_url: String = "CLASSIFY_QUEUE_URL",
    }
}
