//! Configuration from the environment, which `template.yaml` sets.

runtime::config! {
    /// The environment of the function `status-page`.
    pub struct Config {
        /// Name of the table. This function may read its public index only.
        pub table_name: String = "TABLE_NAME",
        /// Base URL of the API, with `{api}` in place of its id. Feeds and programs need absolute links.
        pub public_base_url: String = "PUBLIC_BASE_URL",
    }
}
