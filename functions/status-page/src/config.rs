//! What the template tells this function.

runtime::config! {
    /// The environment of `status-page`.
    pub struct Config {
        /// The table; its public index is all that this function may read.
        pub table_name: String = "TABLE_NAME",
        /// The API's address, with `{api}` for its id: feeds and programs cannot follow a relative link.
        pub public_base_url: String = "PUBLIC_BASE_URL",
    }
}
