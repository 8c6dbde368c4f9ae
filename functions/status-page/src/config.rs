//! What the template tells this function.

runtime::config! {
    /// The environment of `status-page`.
    pub struct Config {
        /// The table; its public index is all that this function may read.
        pub table_name: String = "TABLE_NAME",
    }
}
