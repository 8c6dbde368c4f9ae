//! What the template tells this function.

runtime::config! {
    /// The environment of `authorizer`.
    pub struct Config {
        /// The table.
        pub table_name: String = "TABLE_NAME",
    }
}
